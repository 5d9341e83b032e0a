"""Strategies for event logs with many edge cases, and for ways to deliver and fold them.

The logs have few learners, items, sessions and times, so that many events have the same learner,
item, session or time. Each time is near a clock change, the start of a day, or a time zone's move
across the date line. Fields have valid, unusual and rejected values.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from progress.adapters.postgres import statements
from progress.event_store.events import EVENT_TYPES
from progress.projections.schema import BATCH, REALTIME
from tests.oracle.days import zone
from tests.oracle.events import (
    ANSWERS,
    ASSIGNMENTS,
    CARD,
    CATALOGUE,
    DESCRIPTIONS,
    MEMBERSHIPS,
    NEWEST,
    OF_LISTS,
    PREFERENCES,
    SETTINGS_ASIDE,
)

Envelope = dict[str, Any]
Fields = dict[str, st.SearchStrategy[Any]]

# The streams of ann, una and i44 are in the same shard.
LEARNERS = ("ann", "bob", "una")
ITEMS = ("i1", "i2", "i3", "i44")
SESSIONS = ("s1", "s2", "s3", "s4", "s5", "s6")
GROUPS = ("g1", "g2")
# "lstann" is ann from its fourth letter on, and "grann" from its third: nobody becomes known.
LISTS = ("l1", "own:l1", "lstann", "lstzoe")
LISTED_GROUPS = (*GROUPS, "grann", "grzoe")
HOURS = (0, 4, 12, 23)
# Values that declarations reject. Events that are older than the declaration may contain them.
REJECTED: dict[str, tuple[Any, ...]] = {
    "group_id": ("", 5, "x" * 201, ["g1"]),
    "answers_per_day": (-1, 1001, 5.0, "5", True, None, 10**40),
    "retracted_event_id": ("", 5, "x" * 201, None, ["a"]),
    "date": ("2024-02-30", "2023-02-29", "2024-3-1", "1999-12-31", "2100-01-01", "2024-03-01\n", 5),
    "group_name": ("x" * 101, "a\tb", "a\n", "\x7f", 5, True, ["Class"], {"a": "b"}, "a\u0085"),
    # The last value has a control character of Unicode that JSON does not escape.
    "display_name": ("x" * 101, "a\tb", "a\n", "\x7f", 5, True, ["Ann"], {"a": "b"}, "a\u0085"),
    "item_id": (None,),
    "kind": ("x" * 51, "a\tb", "a\n", "\x7f", 5, True, ["reading"], {"a": "b"}, "a\u0085"),
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
    "rating",
    "due",
    "interval_days",
    "duration_ms",
    *("name", "rank", "position", "due_on"),
)
OF_A_SESSION = (*ANSWERS, "SessionCompleted", "SessionAbandoned", CARD)


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


class Retracted(int):
    """The number of the event that a generated retraction names."""


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
    if kind == "SessionStarted":
        counts = either({}, {"item_count": None}, {"item_count": 2**32 - 1})
        return st.tuples(either(*SESSIONS), st.integers(0, 1), counts).map(
            lambda drawn: _start(drawn[0], cast.owners[drawn[0]], drawn[1]) | drawn[2]
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
            "language": either(
                "en", "EN-gb", "pt-BR", "Und-Latn", "x" * 8 + "-1" * 13, *REJECTED["language"]
            ),
            "kind": either("reading", "typing", "", *REJECTED["kind"]),
        }
        return _with(item, **_or_null({"domains": domains, **words}))
    if kind in PREFERENCES:
        preferences = {"timezone": either(*zones), "day_start_hour": either(*HOURS)}
        preferences["email"] = st.just("a@example.com")
        name = {"display_name": either("Ann", "Bo", '"\\', "", *REJECTED["display_name"])}
        return _with(user, **_or_null({**preferences, **name}))
    if kind in (*OF_LISTS, *ASSIGNMENTS):
        return _list_data(kind, user, item)
    if kind == CARD:
        return _card_data(user, item)
    if kind in NEWEST:
        optional = _or_null(user)
        if kind == "LearnerJoinedGroup":
            optional |= _or_null({"group_name": either("A", "B", "", *REJECTED["group_name"])})
        return _with({**_choice(kind, items, days), "session_id": either(*SESSIONS)}, **optional)
    return _with(_fields(user, item).get(kind, user), **_or_null(_OPTIONAL.get(kind, {})))


def _list_data(kind: str, user: Fields, item: Fields) -> st.SearchStrategy[Any]:
    session = {"session_id": either(*SESSIONS)}
    number = either(0, 1, 2**31 - 1)
    if kind in ASSIGNMENTS:
        groups = {"group_id": either(*LISTED_GROUPS), "list_id": either("l1", *LISTS[2:])}
        due_on = {"due_on": either("2024-03-01", "2024-02-29")} if kind == "ListAssigned" else {}
        return _with({**groups, **due_on}, **_or_null({**user, **session}))
    fixed: Fields = {**item} if kind.startswith("Item") else {}
    optional: Fields = {}
    if kind == "ListPublished":
        fixed |= {"name": either("N5", "Deck")}
        optional = {"scale": either("JLPT", ""), "rank": number}
    if kind == "ItemListed":
        optional = {
            "position": number,
            "headword": either("Wort", "word", ""),
            "kind": either("", "r"),
        }
    own = _with({**fixed, **user, "list_id": either(*LISTS)}, **_or_null({**optional, **session}))
    of_catalogue = {**fixed, "list_id": either("l1", *LISTS[2:])}
    return own | _with(of_catalogue, **_or_null({**optional, **session}))


def _card_data(user: Fields, item: Fields) -> st.SearchStrategy[Any]:
    session = {"session_id": either(*SESSIONS)}
    due = {"due": either(*map(timedelta, _DUE_DAYS))}
    days = {"interval_days": either(7, 6.9, 21, 1 / 3, 20.999, 1, 0, 36_500.5, 2**32 - 1)}
    optional: Fields = {
        "duration_ms": either(999, 1000, 0, 500.5, 60_001, 1e12),
        "easiness_factor": either(2.5, "odd"),
        "stability": either(3.1),
    }
    return either(({**user}, session), (session, {}), ({**user, **session}, {})).flatmap(
        lambda of: either((due, days), (days, due), ({**due, **days}, {})).flatmap(
            lambda when: _with(
                {**item, "rating": st.integers(1, 4), **of[0], **when[0]},
                **_or_null({**optional, **of[1], **when[1]}),
            )
        )
    )


# A due time may lie before the review, and further ahead than counts.
_DUE_DAYS = (7, 6.2, 0, -1, 1 / 144, 1, 1 - 1e-9, 20.99, 21, 36_500, 40_000)


def _choice(kind: str, items: tuple[str, ...], days: tuple[date, ...]) -> Fields:
    """Return the field that `kind` (one of NEWEST) declares; a third of its values are invalid."""
    values: dict[str, tuple[Any, ...]] = {
        "group_id": GROUPS,
        "item_id": items,
        "answers_per_day": (1, 2, 0, 1000),
        "date": tuple(map(date.isoformat, days)),
        # The number of another event of the log; `logs` puts its id there.
        "retracted_event_id": (Retracted(0), *map(Retracted, range(32))),
    }
    field = {
        "GoalSet": "answers_per_day",
        "RestDayTaken": "date",
        "EventRetracted": "retracted_event_id",
        **dict.fromkeys(SETTINGS_ASIDE, "item_id"),
    }.get(kind, "group_id")
    good = either(*values[field])
    return {field: good | good | either(*REJECTED[field])}


def _fields(user: Fields, item: Fields) -> dict[str, Fields]:
    session = {"session_id": either(*SESSIONS)}
    answer = {**session, **item}
    return {
        "CorrectAnswerGiven": answer,
        "IncorrectAnswerGiven": answer,
        "SessionCompleted": session,
        "SessionAbandoned": session,
        "ReviewProcessed": {
            **user,
            **item,
            "new_interval": either(7, 6, 21, 20, 1, 0, 36_500, 36_501, 2**32 - 1),
        },
        "ItemArchived": item,
    }


# Fields that may be omitted or null. The largest values exceed what counts in a sum, and would
# overflow it.
_TIME = {"response_time_ms": either(1000, 0, 60_001, 86_400_000, 2**63 - 1)}
_OPTIONAL: dict[str, Fields] = {
    "CorrectAnswerGiven": _TIME,
    "IncorrectAnswerGiven": _TIME,
    "SessionCompleted": {
        "score": either(50, 0, 100, 250, 2**32 - 1),
        "duration_seconds": either(59, 1, 0, 14_401, 86_400, 2**63 - 1),
    },
    "ReviewProcessed": {"easiness_factor": either(2.5, 1.3, 10, 0.5, 0, 1000)},
}


def extend(kind: str, data: Envelope) -> Envelope:
    """Return the data with more fields, which only other event types declare."""
    declared = EVENT_TYPES.get(kind)
    own = declared.__struct_fields__ if declared else ()
    extra: Envelope = {name: "odd" for name in ODD if name not in own}
    if kind not in PREFERENCES:
        extra |= {"timezone": 5, "day_start_hour": "odd"}
    return {**extra, **data}


def _start(session_id: str, owners: tuple[str, ...], owner: int) -> Envelope:
    return {"session_id": session_id, "user_id": owners[owner % len(owners)]}


def _with(fixed: Fields, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(fixed, optional=optional)


def _or_null(fields: Fields) -> Fields:
    return {name: values | st.none() for name, values in fields.items()}


def build_metadata(kind: str) -> st.SearchStrategy[dict[str, str]]:
    """Return a strategy for metadata, which may name a learner if the event has a session id."""
    if kind in OF_LISTS:
        return either({}, {}, {"user_id": "una"})
    if kind not in (*OF_A_SESSION, *NEWEST):
        return st.just({})
    return either({}, {}, {}, {"user_id": "ann"}, {"user_id": "ann"}, {"user_id": "una"})


TABLES = (
    *("checkpoints", "batch_checkpoints"),
    *(
        name
        for name in (model.name for model in (*REALTIME, *BATCH))
        if f"CREATE TABLE {name} (" in statements.blocks(f"read_models/{name}").get("table", "")
    ),
)


@dataclass(frozen=True)
class Disturbance:
    """A way to deliver and fold a log, with crashes.

    `sizes` are the numbers of events in consecutive deliveries. `every` is the number of
    deliveries between two runs of the folds; if it is None, the folds run only at the end. `limit`
    is the number of events in a window, and `tasks` the number of tasks of the batch job. `crashes`
    names tables. For each of them, one run loses its connection just before it writes to the table.
    """

    sizes: tuple[int, ...]
    every: int | None
    limit: int
    workers: int = 1
    tasks: int = 1
    crashes: tuple[str, ...] = ()


def disturbances() -> st.SearchStrategy[Disturbance]:
    return st.builds(
        Disturbance,
        sizes=st.lists(either(100, 1, 2, 5), min_size=1, max_size=3).map(tuple),
        every=either(None, 1, 2, 3),
        limit=either(1000, 1, 2, 3, 7),
        workers=either(1, 1, 1, 2, 3),
        tasks=either(1, 1, 2, 3),
        crashes=st.lists(either(*TABLES), max_size=2).map(tuple),
    )


# Times in UTC. At each of them, the time zone's clocks change, the time zone skips a day, or a
# month or an ISO year begins there. Only Vancouver's clocks no longer change in 2026, by the pinned
# rules. Generated events are near one of these times.
_CHANGES = {
    "UTC": ("2024-03-01T00:00", "2024-12-30T00:00"),
    "America/New_York": ("2024-03-10T07:00", "2024-11-03T06:00"),
    "Asia/Kathmandu": ("2024-01-31T18:15",),
    "Australia/Lord_Howe": ("2024-04-06T15:00", "2024-10-05T15:30"),
    "Pacific/Apia": ("2011-12-30T10:00",),
    "Pacific/Kiritimati": ("2024-06-30T10:00",),
    "Africa/Casablanca": ("2024-03-10T02:00", "2024-04-14T02:00"),
    "America/Vancouver": ("2026-11-01T09:00", "2025-11-02T09:00"),
}
ZONES = tuple(_CHANGES)
# Logs use only the changes before this time. Events near a later change could be in the future, and
# would become dead letters.
_LATEST = (datetime.now(UTC) - timedelta(days=17)).isoformat()
_DAYS = (0, 1, -1, 2, -2, 3, 7, -7, 8)
_HOURS_OFF = (0, 1, -1, 0.5, -0.5, 12, -13)
_NUDGES = (timedelta(0), timedelta(microseconds=-1), timedelta(microseconds=1))

KINDS = (
    *("CorrectAnswerGiven", "IncorrectAnswerGiven", "SessionCompleted", "ReviewProcessed") * 3,
    *(CARD,) * 4,
    *("SessionStarted", "UserPreferencesChanged", "UserCreated") * 2,
    *CATALOGUE,
    "SessionAbandoned",
    "BadgeAwarded",
    *NEWEST,
    *("EventRetracted",) * 4,
    "UserDeleted",
    *OF_LISTS,
    *ASSIGNMENTS,
)
# Some logs have few event types, so that events of these types interact more often.
THEMES = (
    KINDS,
    (*ANSWERS, *ANSWERS, "SessionStarted", "UserPreferencesChanged"),
    (*("SessionCompleted", "SessionStarted") * 3, "UserPreferencesChanged"),
    ("ReviewProcessed", "ReviewProcessed", "ReviewProcessed", "UserCreated"),
    ("ReviewProcessed", "SessionStarted", *ANSWERS, *CATALOGUE),
    ("SessionStarted", *ANSWERS, *PREFERENCES, "UserDeleted"),
    ("SessionCompleted", "SessionStarted", "SessionCompleted", *("RestDayTaken",) * 2),
    (*ANSWERS, "SessionStarted", "SessionCompleted", *MEMBERSHIPS, "GoalSet", *PREFERENCES),
    (*("ReviewProcessed", *ANSWERS) * 3, "SessionStarted", "UserPreferencesChanged"),
    (*("SessionStarted",) * 4, *NEWEST),
    ("EventRetracted", "SessionStarted", *("ReviewProcessed", *ANSWERS) * 2),
    (*("EventRetracted", "SessionStarted", "SessionCompleted", "RestDayTaken") * 2, "GoalSet"),
    (*("EventRetracted",) * 2, "SessionStarted", *ANSWERS, *MEMBERSHIPS, "GoalSet"),
    (*SETTINGS_ASIDE * 3, "ReviewProcessed", "CorrectAnswerGiven", "EventRetracted", *CATALOGUE),
    (*SETTINGS_ASIDE * 2, "ReviewProcessed", "SessionStarted", *ANSWERS, "UserPreferencesChanged"),
    (*(CARD,) * 4, "ReviewProcessed", *ANSWERS, "SessionStarted", "UserPreferencesChanged"),
    (*(CARD,) * 3, "EventRetracted", "SessionStarted", "SessionCompleted", *ANSWERS),
    (*DESCRIPTIONS, "ItemArchived", *(CARD,) * 4),
    (*OF_LISTS * 3, *ASSIGNMENTS, "EventRetracted", CARD),
    (*OF_LISTS * 4, *ASSIGNMENTS * 2, "UserPreferencesChanged", "SessionCompleted", "UserDeleted"),
)


# The types of a crowded log, and those that may be added to them.
_CROWDED = (*ANSWERS, *ANSWERS, "SessionStarted", "ReviewProcessed", CARD, *MEMBERSHIPS * 3)
_RARE = ((), (), ("UserPreferencesChanged",), ("UserPreferencesChanged", "UserDeleted"))


@dataclass(frozen=True)
class Published:
    """A published event, with a number for each delivery. `Log` sorts the deliveries by number."""

    envelope: Envelope
    deliveries: tuple[int, ...]


@dataclass(frozen=True)
class Log:
    published: tuple[Published, ...]
    now: datetime

    @property
    def envelopes(self) -> list[Envelope]:
        return [p.envelope for p in self.published]

    @property
    def delivered(self) -> list[Envelope]:
        order = [(d, n) for n, p in enumerate(self.published) for d in p.deliveries]
        return [self.published[n].envelope for _, n in sorted(order)]


@functools.cache
def moments(change: str, zones: tuple[str, ...]) -> tuple[datetime, ...]:
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    nudged: dict[datetime, None] = {}
    for days in _DAYS:
        day = at + timedelta(days=days)
        walls = [day.astimezone(zone(name)) for name in zones]
        begins = [w.replace(hour=h, minute=0).astimezone(UTC) for w in walls for h in HOURS]
        near = [*(day + timedelta(hours=h) for h in _HOURS_OFF), *begins]
        nudged.update(dict.fromkeys(moment + nudge for moment in near for nudge in _NUDGES))
    return tuple(nudged)


def _id(first: int, number: int) -> str:
    """Return an event id with this first byte, which decides the sort order of the ids."""
    return str(UUID(int=first << 120 | number))


@st.composite
def logs(
    draw: st.DrawFn,
    *,
    contested: bool = False,
    crowded: bool = False,
    collected: bool = False,
    size: int = 24,
) -> Log:
    """Generate a log; if `contested`, the order of arrival decides which events are stored.

    If `crowded`, ann also joins about as many groups as count for the items of one learner. If
    `collected`, ann also learns about as many items as the first milestone needs.
    """
    zones = tuple(draw(st.lists(either(*_CHANGES), min_size=1, max_size=2, unique=True)))
    changes = [change for name in zones for change in _CHANGES[name] if change < _LATEST]
    places = moments(draw(either(*(changes or _CHANGES["UTC"]))), zones)
    scattered = st.lists(either(*places), min_size=1, max_size=8, unique=True)
    walk = either(*places).map(lambda start: [start + timedelta(days=n) for n in range(8)])
    pool = draw(scattered | walk)
    some = (("ann", "bob"),) if contested else (("ann",), ("ann",), ("bob",))
    owners = {session: draw(either(*some)) for session in SESSIONS}
    people, items = draw(either(LEARNERS[:1], LEARNERS)), draw(either(ITEMS[:1], ITEMS))
    begins = min(pool).date() - timedelta(days=4)
    days = tuple(begins + timedelta(days=n) for n in range(15))
    cast = Cast(people, items, zones, owners, days)
    kinds = (*_CROWDED, *draw(either(*_RARE))) if crowded else draw(either(*THEMES))
    kinds += draw(either(DESCRIPTIONS, ()))
    fewest = draw(either(1, size // 3, size // 2))
    events = draw(st.lists(_event(kinds, pool, cast), min_size=fewest, max_size=size))
    if crowded:
        events += draw(_crowd(pool))
    if collected:
        events += draw(_collect(pool))
    ids = [_id(first, n % 4 if contested else n) for n, (_, first, _) in enumerate(events)]
    return Log(
        tuple(
            Published({**_name_retracted(event, ids), "event_id": ids[n]}, tuple(numbers))
            for n, (event, _, numbers) in enumerate(events)
        ),
        draw(either(*pool, *places)),
    )


def _name_retracted(event: Envelope, ids: list[str]) -> Envelope:
    """Return the event; the id of another event takes the place of its number."""
    number = event["data"].get("retracted_event_id")
    if not isinstance(number, Retracted):
        return event
    return {**event, "data": {**event["data"], "retracted_event_id": ids[number % len(ids)]}}


def _crowd(pool: list[datetime]) -> st.SearchStrategy[list[Any]]:
    """Return a strategy for ann's joins of 48 to 52 groups, some of which ann leaves.

    The groups are not g1 and g2, which the log's other events are about.
    """
    joins = st.lists(_numbered(either(*pool)), min_size=3, max_size=3)
    leaves = st.lists(st.tuples(st.integers(3, 50), _numbered(either(*pool))), max_size=3)
    return st.builds(
        lambda groups, joins, leaves: [
            *(_of_ann(MEMBERSHIPS[0], joins[n % 3], group_id=f"g{n + 3}") for n in range(groups)),
            *(_of_ann(MEMBERSHIPS[1], drawn, group_id=f"g{group}") for group, drawn in leaves),
        ],
        st.integers(48, 52),
        joins,
        leaves,
    )


def _collect(pool: list[datetime]) -> st.SearchStrategy[list[Any]]:
    """Return a strategy for ann's correct answers and reviews of 7 to 12 more items."""
    times = st.lists(_numbered(either(*pool)), min_size=7, max_size=12)
    answered = {"session_id": "s1", "response_time_ms": 1000}
    reviewed = {"new_interval": 7, "easiness_factor": 2.5}
    return st.builds(
        lambda answers, reviews: [
            *(_of_ann(ANSWERS[0], one, item_id=f"c{n}", **answered) for n, one in answers),
            *(_of_ann("ReviewProcessed", one, item_id=f"c{n}", **reviewed) for n, one in reviews),
        ],
        times.map(enumerate),
        times.map(enumerate),
    )


def _of_ann(
    kind: str, drawn: tuple[datetime, int, list[int]], **data: object
) -> tuple[Envelope, int, list[int]]:
    """Return ann's event, with the first byte of its id and delivery numbers."""
    occurred_at, first, numbers = drawn
    envelope = _envelope((kind, {"user_id": "ann", **data}, {}), occurred_at, is_extended=False)
    return envelope, first, numbers


def _event(
    kinds: tuple[str, ...], pool: list[datetime], cast: Cast
) -> st.SearchStrategy[tuple[Envelope, int, list[int]]]:
    data = {
        kind: st.tuples(st.just(kind), build_data(kind, cast), build_metadata(kind))
        for kind in kinds
    }
    parts = st.sampled_from(kinds).flatmap(data.__getitem__)
    envelope = st.builds(_envelope, parts, either(*pool), either(False, False, False, True))
    return _numbered(envelope)


def _numbered(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, int, list[int]]]:
    """Return a strategy for triples: a value, the first byte of an id, delivery numbers."""
    deliveries = st.lists(st.integers(0, 31), min_size=1, max_size=2)
    return st.tuples(values, either(0, 1, 64, 127, 128, 255), deliveries)


def _envelope(
    parts: tuple[str, Envelope, dict[str, str]], occurred_at: datetime, is_extended: bool
) -> Envelope:
    kind, data, metadata = parts
    if isinstance(data.get("due"), timedelta):
        local = (occurred_at + data["due"]).astimezone(timezone(timedelta(hours=-9.5)))
        data = {**data, "due": local.isoformat()}
    return {
        "event_type": kind,
        "occurred_at": occurred_at.isoformat(),
        "data": extend(kind, data) if is_extended else data,
        "metadata": metadata,
    }
