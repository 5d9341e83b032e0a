"""A description and an example of each declared field of `data`, and an example of each type."""

import uuid
from typing import Any, NamedTuple

import msgspec

from progress.event_store import events

_OCCURRED_AT = "2024-03-29T20:32:32.250Z"


class Field(NamedTuple):
    """A description of a field, including its unit, and a valid example value."""

    description: str
    example: Any


FIELDS: dict[str, Field] = {
    "user_id": Field("The learner. `metadata.user_id` may be given instead.", "u-1"),
    "session_id": Field("The session.", "s-1"),
    "item_id": Field("The vocabulary item.", "i-9"),
    "group_id": Field("The group, for example a class.", "g-1"),
    "item_count": Field("The number of items that the session will ask.", 20),
    "response_time_ms": Field("The time from the question to the answer, in milliseconds.", 2506),
    "score": Field("The result of the session, in percent.", 85),
    "duration_seconds": Field("The length of the session, in seconds.", 600),
    "new_interval": Field("The number of days until the next review.", 7),
    "easiness_factor": Field("How easy the item is for the learner; larger is easier.", 2.5),
    "domains": Field("The skills: R reading, W writing, L listening, S speaking.", ["R", "L"]),
    "cefr_level": Field("The level in the Common European Framework, if it is known.", "A2"),
    "headword": Field("The word or phrase that the learner sees.", "bicycle"),
    "language": Field("The language of the headword, as a BCP 47 tag.", "en"),
    "email": Field("The e-mail address, which is stored masked.", "ann@example.com"),
    "timezone": Field("The learner's IANA time zone.", "Europe/Berlin"),
    "day_start_hour": Field("The local hour at which the learner's day begins.", 4),
    "answers_per_day": Field("The goal: answers per day; 0 means no goal.", 30),
    "date": Field("A local day of the learner.", "2024-03-29"),
}


def example(declared: type[events.Event]) -> dict[str, Any]:
    """Return an envelope in which every declared field has its example value."""
    names = [field.name for field in msgspec.structs.fields(declared)]
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, declared.__name__)),
        "event_type": declared.__name__,
        "occurred_at": _OCCURRED_AT,
        "data": {name: FIELDS[name].example for name in names},
    }
