"""Strategies for the data and the metadata of events, with valid, unusual and rejected values."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from hypothesis import strategies as st

from tests.oracle.events import ANSWERS, DESCRIPTIONS, NEWEST, PREFERENCES

Envelope = dict[str, Any]
Fields = dict[str, st.SearchStrategy[Any]]

# The streams of ann, una and i44 are in the same shard.
LEARNERS = ("ann", "bob", "una")
ITEMS = ("i1", "i2", "i3", "i44")
SESSIONS = ("s1", "s2", "s3", "s4", "s5", "s6")
GROUPS = ("g1", "g2")
HOURS = (0, 4, 12, 23)
# Values that declarations reject. Events that are older than the declaration may contain them.
REJECTED: dict[str, tuple[Any, ...]] = {
    "group_id": ("", 5, "x" * 201, ["g1"]),
    "answers_per_day": (-1, 1001, 5.0, "5", True, None, 10**40),
    "date": ("2024-02-30", "2023-02-29", "2024-3-1", "1999-12-31", "2100-01-01", "2024-03-01\n", 5),
    "language": ("e", "en_US", "en-", "x" * 36, "1a", "en\n", True, 5, ["en"]),
}
ODD = (
    "response_time_ms",
    "new_interval",
    "easiness_factor",
    "score",
    "duration_seconds",
    "domains",
    "answers_per_day",
    "date",
)
OF_A_SESSION = (*ANSWERS, "SessionCompleted", "SessionAbandoned")


def either(*values: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for one of the values."""
    return st.sampled_from(values)


@dataclass(frozen=True)
class Cast:
    """The learners, items and sessions of a log; `owners` maps each session to possible learners.

    `days` are the possible rest days.
    """

    people: tuple[str, ...]
    items: tuple[str, ...]
    zones: tuple[str, ...]
    owners: Mapping[str, tuple[str, ...]]
    days: tuple[date, ...]


def build_data(kind: str, cast: Cast) -> st.SearchStrategy[Any]:
    """Return a strategy for the data of an event of this type."""
    if kind == "SessionStarted":
        return st.tuples(either(*SESSIONS), st.integers(0, 1)).map(
            lambda drawn: _start(drawn[0], cast.owners[drawn[0]], drawn[1])
        )
    return _data_of(
        kind,
        cast.people,
        cast.items,
        cast.zones if kind in PREFERENCES else (),
        cast.days if kind == "RestDayTaken" else (),
    )


@functools.cache  # Hypothesis examines each new strategy, which takes longer than drawing from it
def _data_of(
    kind: str,
    people: tuple[str, ...],
    items: tuple[str, ...],
    zones: tuple[str, ...],
    days: tuple[date, ...],
) -> st.SearchStrategy[Any]:
    user = {"user_id": either(*people)}
    item = {"item_id": either(*items)}
    if kind in DESCRIPTIONS:
        domains = st.lists(either("R", "W", "L", "S"), unique=True, max_size=4)
        words = {
            "cefr_level": either("A1", "B2"),
            "headword": either("word", "verb"),
            "language": either("en", "pt-BR", "x" * 8 + "-1" * 13, *REJECTED["language"]),
        }
        return _with({**item, "domains": domains}, **_or_null(words))
    if kind in PREFERENCES:
        preferences = {"timezone": either(*zones), "day_start_hour": either(*HOURS)}
        address = {"email": st.just("a@example.com")}
        return _with({**user, **address}, **_or_null(preferences))
    if kind in NEWEST:
        return _with({**_choice(kind, days), "session_id": either(*SESSIONS)}, **_or_null(user))
    return st.fixed_dictionaries(_fields(user, item).get(kind, user))


def _choice(kind: str, days: tuple[date, ...]) -> Fields:
    """Return the field that `kind` (one of NEWEST) declares; a third of its values are invalid."""
    values: dict[str, tuple[Any, ...]] = {
        "group_id": GROUPS,
        "answers_per_day": (1, 2, 0, 1000),
        "date": tuple(map(date.isoformat, days)),
    }
    (field,) = {"GoalSet": ["answers_per_day"], "RestDayTaken": ["date"]}.get(kind, ["group_id"])
    good = either(*values[field])
    return {field: good | good | either(*REJECTED[field])}


def _fields(user: Fields, item: Fields) -> dict[str, Fields]:
    """Return the fields of most event types, by type."""
    session = {"session_id": either(*SESSIONS)}
    answer = {**session, **item, "response_time_ms": either(1000, 0, 86_400_000)}
    return {
        "CorrectAnswerGiven": answer,
        "IncorrectAnswerGiven": answer,
        "SessionCompleted": {
            **session,
            "score": either(50, 0, 100),
            "duration_seconds": either(59, 1, 0, 86_400),
        },
        "SessionAbandoned": session,
        "ReviewProcessed": {
            **user,
            **item,
            "new_interval": either(7, 6, 21, 20, 1, 0, 36_500),
            "easiness_factor": either(2.5, 1.3, 10),
        },
        "ItemArchived": item,
    }


def extend(kind: str, data: Envelope) -> Envelope:
    """Return the data with more fields, which only other event types declare."""
    extra: Envelope = {name: "odd" for name in ODD if name not in data}
    if kind not in PREFERENCES:
        extra |= {"timezone": 5, "day_start_hour": "odd"}
    return {**extra, **data}


def _start(session_id: str, owners: tuple[str, ...], owner: int) -> Envelope:
    return {
        "session_id": session_id,
        "user_id": owners[owner % len(owners)],
        "item_count": 3,
    }


def _with(fixed: Fields, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(fixed, optional=optional)


def _or_null(fields: Fields) -> Fields:
    return {name: values | st.none() for name, values in fields.items()}


def build_metadata(kind: str) -> st.SearchStrategy[dict[str, str]]:
    """Return a strategy for metadata, which may name a learner if the event has a session id."""
    if kind not in (*OF_A_SESSION, *NEWEST):
        return st.just({})
    return either({}, {}, {}, {"user_id": "ann"}, {"user_id": "ann"}, {"user_id": "una"})
