"""A valid example of each event type."""

import uuid
from typing import Any

import msgspec

from progress.event_store import events
from progress.event_store.contract.fields import FIELDS

_OCCURRED_AT = "2024-03-29T20:32:32.250Z"


def example(declared: type[events.Event]) -> dict[str, Any]:
    """Return an envelope in which every declared field has its example value."""
    names = [field.name for field in msgspec.structs.fields(declared)]
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, declared.__name__)),
        "event_type": declared.__name__,
        "occurred_at": _OCCURRED_AT,
        "data": {name: FIELDS[name].example for name in names},
    }
