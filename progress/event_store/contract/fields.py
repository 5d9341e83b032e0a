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
    "response_time_ms": Field(
        "The time from the question to the answer, in milliseconds. It counts with at most 60,000;"
        " if omitted, the answer takes part in no mean of times.",
        2506,
    ),
    "score": Field(
        "The result of the session, usually in percent. If omitted, the session takes part in no"
        " mean of scores.",
        85,
    ),
    "duration_seconds": Field(
        "The length of the session, in seconds. It counts with at most 14,400; if omitted, with 0.",
        600,
    ),
    "new_interval": Field(
        "The number of days until the next review. The item is due at most 36,500 days later.", 7
    ),
    "rating": Field("1 again, 2 hard, 3 good, 4 easy. From 2 on, the answer is correct.", 3),
    "due": Field(
        "When the item is asked again, at most 36,500 days later; stored in UTC. Required without"
        " `interval_days`, which then is the number of whole days of 24 hours until then.",
        "2024-04-05T04:00:00.000000Z",
    ),
    "interval_days": Field(
        "The days until the next review; the interval is rounded down. Required without `due`,"
        " which then is as many days of 24 hours later, with their fraction.",
        7,
    ),
    "duration_ms": Field(
        "The time of the answer in milliseconds, rounded down; counts as `response_time_ms`.", 2506
    ),
    "easiness_factor": Field("How easy the item is for the learner; larger is easier.", 2.5),
    "domains": Field(
        "The skills: R reading, W writing, L listening, S speaking. If omitted, none.", ["R", "L"]
    ),
    "cefr_level": Field("The level in the Common European Framework, if it is known.", "A2"),
    "headword": Field("The word or phrase that the learner sees.", "bicycle"),
    "language": Field("The language of the headword, as a BCP 47 tag.", "en"),
    "list_id": Field("The list, for example a deck or a level.", "l-1"),
    "name": Field("The name of the list.", "N5"),
    "scale": Field(
        "What the list is a level of. Null or an empty text is none. The lists of one scale are its"
        " levels.",
        "JLPT",
    ),
    "rank": Field("The place of the list in its scale, the lowest first.", 1),
    "position": Field("The place of the item in the list, the lowest first; if omitted, last.", 1),
    "due_on": Field("The local day until which each member learns the list.", "2024-03-29"),
    "kind": Field(
        "What the item asks for, such as `reading` or `typing`. It tells the cards of one word"
        " apart. Null or an empty text is none.",
        "reading",
    ),
    "email": Field("The e-mail address, which is stored masked.", "ann@example.com"),
    "timezone": Field("The learner's IANA time zone.", "Europe/Berlin"),
    "day_start_hour": Field("The local hour at which the learner's day begins.", 4),
    "display_name": Field(
        "The name that the learner and the learner's teachers see. Null or an empty text removes"
        " the name; a missing field keeps it.",
        "Ann",
    ),
    "group_name": Field(
        "The name of the group that teachers see. Of all learners' events about the group that have"
        " a name, the latest counts. Null or an empty text is no name.",
        "Class 7b",
    ),
    "answers_per_day": Field("The goal: answers per day; 0 means no goal.", 30),
    "date": Field("A local day of the learner.", "2024-03-29"),
    "retracted_event_id": Field(
        "The `event_id` of the event that no longer counts, as it was published.",
        "0191f0c4-0000-7000-8000-000000000001",
    ),
}


# The fields of the published messages.
PUBLISHED: dict[str, Field] = {
    "user_id": Field("The learner.", "u-1"),
    "kind": Field("The kind of the milestone.", "STREAK"),
    "value": Field("Days of a streak, items, or the day's goal; null for LEVEL_REACHED.", 30),
    "level": Field("The level reached; null for the other kinds.", None),
    "reached_on": Field("The learner's local day.", "2024-03-29"),
    "erase_on": Field(
        "The day of the erasure in UTC, at the earliest 30 days after this message.", "2025-04-30"
    ),
    "event_id": Field(
        "The id of the event; also `ce-id`.", str(uuid.uuid5(uuid.NAMESPACE_OID, "e"))
    ),
    "event_type": Field("The type of the event; also `ce-type`.", "CorrectAnswerGiven"),
    "occurred_at": Field("When the event happened, in UTC.", "2024-03-29T20:32:32.250000Z"),
    "data": Field(
        "As recorded, without `email` and `display_name`; of a learner's own list, only `user_id`,"
        " `list_id`, `item_id`, `position` and `rank`.",
        {"session_id": "s-1", "item_id": "i-9", "response_time_ms": 2506},
    ),
    "metadata": Field(
        "The publisher's metadata, and the event's place in the log. `posted_by` is `learner` "
        "where the learner's own device has posted the event, and `teacher` where a mutation of "
        "a teacher has recorded it.",
        {
            "user_id": "u-1",
            "global_position": 1207,
            "stream_version": 31,
            "recorded_at": "2024-03-29T20:32:33.017000Z",
        },
    ),
}


def published_example(declared: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a published message in which every field has its example value."""
    fields = msgspec.structs.fields(declared)
    return {field.name: PUBLISHED[field.name].example for field in fields}


def example(declared: type[events.Event]) -> dict[str, Any]:
    """Return an envelope in which every declared field has its example value."""
    names = [field.name for field in msgspec.structs.fields(declared)]
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, declared.__name__)),
        "event_type": declared.__name__,
        "occurred_at": _OCCURRED_AT,
        "data": {name: FIELDS[name].example for name in names},
    }
