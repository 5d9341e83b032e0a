"""Posted events: parse the body of a `POST /events`, and say what became of each entry.

Unlike a push, a post has a caller who reads the response. A body that is not JSON is therefore
rejected, and no dead letter is stored.
"""

import itertools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from progress.errors import BadInput, RequestTooLarge
from progress.event_store import envelope, json_input
from progress.event_store.envelope import Message, Rejection
from progress.event_store.log import Delivery
from progress.ingest import push
from progress.ingest.group_commit import Others

JSON, LINES = "application/json", "application/x-ndjson"
MOST_BYTES = 10_000_000

_MOST_ENTRIES = 1_000
_TOPIC = "posted"
_LINE = re.compile(rb"[ \t\r\n]*+([^\n]+)")  # blank lines, and then one that is not


def parse_delivery(
    body: bytearray, media_type: str, poster: str = "", published_at: datetime | None = None
) -> Delivery:
    """Return what this account has posted; `published_at` is the time of entries that name none.

    Raise BadInput if the body, or one of its lines, is not JSON; raise RequestTooLarge if there are
    more than 1,000 entries.
    """
    try:
        parts = _split_lines(body) if media_type == LINES else _split_array(body)
    except json_input.NotJson as error:
        raise BadInput(str(error)) from None
    message = Message(
        topic=_TOPIC, message_id=push.digest(body), poster=poster, published_at=published_at
    )
    entries = envelope.decode_parts(parts, message)
    return Delivery(message, entries, len(body), is_reported=True)


def describe(delivery: Delivery, others: Others) -> dict[str, Any]:
    """Return the number of entries per outcome, and the dead letters by index.

    Each entry counts once. `others` has the outcome and the reason of the events that were not
    appended, and of the rejections that are no dead letters.
    """
    counts = dict.fromkeys(("appended", "redelivered", "pending", "erased"), 0)
    letters: list[dict[str, Any]] = []
    for entry in delivery.entries:
        first = (entry.kind, entry.reason) if isinstance(entry, Rejection) else ("appended", None)
        outcome, reason = others.get(entry.index, first)
        if outcome in counts:
            counts[outcome] += 1
            continue
        event_id = entry.uuid if isinstance(entry, Rejection) else entry.event_id
        letter = {"index": entry.index, "kind": outcome, "reason": reason}
        letters.append(letter | {"event_id": event_id and event_id.lower()})
    return counts | {"dead_letters": sorted(letters, key=lambda letter: letter["index"])}


def _split_array(body: bytearray) -> list[tuple[int, bytes]]:
    json_input.check(body)
    elements = json_input.elements(body)
    return _number([bytes(body)] if elements is None else elements)


def _split_lines(body: bytearray) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank; a long body need not become a list of lines."""
    text = bytes(body.rstrip(b" \t\r\n"))
    parts = _number(line[1] for line in _LINE.finditer(text))
    if not parts:
        json_input.check(text)
    for line, (_, part) in zip(_LINE.finditer(text), parts, strict=True):
        try:
            json_input.check(part)
        except json_input.NotJson as error:
            number = text.count(b"\n", 0, line.start(1)) + 1
            raise json_input.NotJson(f"{error} of line {number}") from None
    return parts


def _number(parts: Iterable[bytes]) -> list[tuple[int, bytes]]:
    numbered = list(itertools.islice(enumerate(parts), _MOST_ENTRIES + 1))
    if len(numbered) > _MOST_ENTRIES:
        raise RequestTooLarge(f"expected at most {_MOST_ENTRIES} events")
    return numbered
