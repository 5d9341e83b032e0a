"""Find misspelt optional fields: ingest accepts a field with an unknown name, but ignores it."""

import difflib
from collections.abc import Collection
from typing import Any

import msgspec

from progress.event_store import events

_ENVELOPE = ("event_id", "event_type", "occurred_at", "data", "metadata")
_ANY_DATA = ("user_id", "type")  # may be in the data of every event
_SIMILARITY = 0.8  # from 0 to 1; a less similar name does not count as misspelt


def find_misspelt(data: bytes) -> dict[str, str]:
    """Map each misspelt field name of an event, or of an array of events, to the declared name.

    A field counts as misspelt if its name is not declared, and a declared field with a similar name
    is missing from the same object.
    """
    try:
        body = msgspec.json.decode(data)
    # Not JSON, not UTF-8, or unusual JSON that ingest parses with another parser.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    misspelt: dict[str, str] = {}
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict):
            misspelt |= _compare(event, _ENVELOPE) | _compare_data(event)
    return misspelt


def _compare_data(event: dict[str, Any]) -> dict[str, str]:
    data = event.get("data")
    if not isinstance(data, dict):
        return {}
    declared = events.CATALOGUE.get(str(event.get("event_type") or data.get("type")))
    return _compare(data, (*declared.__struct_fields__, *_ANY_DATA)) if declared else {}


def _compare(fields: dict[str, Any], declared: Collection[str]) -> dict[str, str]:
    missing = [name for name in declared if name not in fields]
    nearest = {
        name: difflib.get_close_matches(name.lower(), missing, n=1, cutoff=_SIMILARITY)
        for name in fields
        if name not in declared
    }
    return {name: similar[0] for name, similar in nearest.items() if similar}
