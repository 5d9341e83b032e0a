"""Every field at a past moment: the response equals the oracle's, at any moment, for every log."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from graphql import get_nullable_type, is_list_type
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.projections.snapshots import Policy
from tests import oracle
from tests.oracle.days import week
from tests.oracle.events import CATALOGUE
from tests.oracle.word_lists import STAFF, find_list, list_numbers, lists
from tests.query.test_lists import cards
from tests.support import cache_instances, model_rows, sample_events
from tests.support.api import QUERY, Api, select_all
from tests.support.event_logs import ITEMS, LEARNERS, SESSIONS, Disturbance, Log, disturbances, logs
from tests.support.postgres_servers import Server
from tests.support.stage import Stage, append

pytestmark = [pytest.mark.timeout(900), pytest.mark.every_postgres]

EVERYONE = (*LEARNERS, "nobody")
DAY = timedelta(days=1)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
NEAR = (timedelta(0), timedelta(microseconds=-1), timedelta(microseconds=1))
# Much later than the events: streaks have ended, items are due, goals' days are past.
LATER = (DAY, 8 * DAY, 28 * DAY, 731 * DAY)
DATED = ("ANSWERED", "MISSED", "NEWLY_MASTERED", "SLIPPED_BACK")
MASTERED = ("SHORT_TERM", "LONG_TERM")

Json = Any
Moments = dict[str, datetime | None]


def _call(alias: str, arguments: str = "") -> str:
    """Return a field about the past; its alias may end with a number."""
    name = alias.rstrip("0123456789")
    past = "userId: $user, asOf: $asOf, knownAt: $knownAt"
    return f"{alias}: {name}({past}{arguments}){select_all(QUERY.fields[name])}"


PLAIN = [name for name in cache_instances.PLAIN if "asOf" in QUERY.fields[name].args]
FORGETTING = ((ITEMS[0], 30), (ITEMS[1], 0), (ITEMS[2], 365))
_IN_RANGE = ", from: $from, to: $to"
_LIST = ", first: 30, filter: $filter, orderBy: $orderBy, from: $start, to: $end"
# Each text is one request. All fields of a request have the same learner and moment.
_REQUESTS = (
    (
        *map(_call, PLAIN),
        _call("dailyStats", _IN_RANGE),
        _call("weeklyStats", _IN_RANGE),
        _call("monthlyStats", _IN_RANGE),
        _call("domainStats"),
        _call("levelStats"),
        _call("domainStats1", ", language: $language"),
        _call("levelStats1", ", language: $language"),
        _call("dueForecast", ", days: 30"),
        _call("restDays", _IN_RANGE),
        _call("streakDays", _IN_RANGE),
        *(
            _call(f"retention{n}", f"{_IN_RANGE}, by: {by}")
            for n, by in enumerate(("DAY", "WEEK", "MONTH"))
        ),
    ),
    (
        *(_call(f"item{n}", f', itemId: "{item}"') for n, item in enumerate(ITEMS)),
        *(_call(f"itemHistory{n}", f', itemId: "{i}"') for n, i in enumerate(ITEMS[:2])),
        _call("knowledge"),
        _call("knowledge1", ", language: $language"),
        *(
            _call(f"itemForgetting{n}", f', itemId: "{item}", days: {days}')
            for n, (item, days) in enumerate(FORGETTING)
        ),
        _call("item9", ', itemId: "unheard of"'),
    ),
    (
        _call("itemStats", _LIST),
        _call("itemStats1", ", first: 30, search: $search, level: $level"),
        _call("itemStats2", ", first: 30, domain: $domain"),
        _call("itemStats3", ", first: 30, language: $language"),
        _call("sessions", ", first: 3"),
        *(_call(f"session{n}", f', id: "{one}"') for n, one in enumerate(SESSIONS[:2])),
    ),
    (
        _call("lists"),
        _call("lists1", ', scale: "JLPT"'),
        _call("list0", ', listId: "l1"'),
        _call("list1", ', listId: "own:l1"'),
    ),
    (
        _call("dailyStats", f"{_IN_RANGE}, zeroFill: true"),
        _call("weeklyStats", f"{_IN_RANGE}, zeroFill: true"),
    ),
)
_USED = {"from": "Date!", "to": "Date!", "filter": "ItemFilter", "orderBy": "ItemOrder"}
_USED |= {"start": "Date", "end": "Date"}
_USED |= {"search": "String", "level": "CefrLevel", "domain": "Domain", "language": "String"}
DOMAINS = (*"RWLS", "UNKNOWN")
LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2", "UNKNOWN")


def _document(calls: Iterable[str]) -> str:
    body = "\n".join(calls)
    used = "".join(f", ${name}: {type_}" for name, type_ in _USED.items() if f"${name}" in body)
    return f"query ($user: ID, $asOf: DateTime, $knownAt: DateTime{used}) {{ {body} }}"


DOCUMENTS = tuple(map(_document, _REQUESTS))


def test_the_documents_have_every_field_with_asof() -> None:
    names = {name for name, field in QUERY.fields.items() if "asOf" in field.args}
    asked = {call.split("(")[0].split(": ")[1] for calls in _REQUESTS for call in calls}
    of_group = {"group", "learners"}  # test_read_models_oracle.py compares them
    elsewhere = {"learner", "coverage"}  # its parts are these fields; test_coverage.py
    assert asked == names - elsewhere - of_group
    known = {name for name, field in QUERY.fields.items() if "knownAt" in field.args}
    assert known == names - of_group


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def as_json(value: Any) -> Json:
    """Return an oracle's value as the API returns it; Ints are clamped, names in camel case."""
    if isinstance(value, Mapping):
        return {_camel(str(name)): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, date):
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_UTC_Z))
    if type(value) is int:
        return min(value, 2**31 - 1)
    return value


def _between(rows: Mapping[date, Json], first: date, last: date) -> list[Json]:
    return [row for day, row in sorted(rows.items()) if first <= day <= last]


_NO_SUMS = {
    **dict.fromkeys(("sessions_completed", "study_seconds", "study_time_minutes", "answers"), 0),
    **dict.fromkeys(("correct_answers", "items_learned", "items_reviewed", "new_mastery_count"), 0),
    **dict.fromkeys(("accuracy_rate", "average_response_ms", "average_score")),
}


def _days(world: oracle.World, user: str, first: date, last: date, *, fill: bool) -> list[Json]:
    rows = {d: {"date": d, **row} for d, row in oracle.daily_stats(world, user).items()}
    if fill and oracle.user_progress(world, user):
        days = [first + n * DAY for n in range((last - first).days + 1)]
        rows = {d: {"date": d, **_NO_SUMS} for d in days} | rows
    return _between(rows, first, last)


def _weeks(world: oracle.World, user: str, first: date, last: date, *, fill: bool) -> list[Json]:
    rows = dict(oracle.weekly_stats(world, user))
    if fill and oracle.user_progress(world, user):
        mondays = {week(first + n * DAY) for n in range((last - first).days + 1)}
        empty = {"active_days": 0, "slipped_back": 0, **_NO_SUMS}
        rows = {monday: {"start": monday, "end": end, **empty} for monday, end in mondays} | rows
    return _between(rows, first, last)


def _rank(order: str, row: oracle.Row) -> float | None:
    times = [row[name] for name in ("last_answered_at", "reviewed_at") if row[name]]
    rank: float | None = {
        "RECENT": lambda: -max(times).timestamp(),
        "DUE": lambda: row["due_at"] and row["due_at"].timestamp(),
        "ACCURACY": lambda: row["accuracy_rate"],
        "LAPSES": lambda: -row["lapses"],
    }[order]()
    return rank


def passes(world: oracle.World, user: str, name: str, item_id: str, row: oracle.Row) -> bool:
    decide: Mapping[str, Callable[[], bool]] = {
        "ALL": lambda: True,
        "LEARNING": lambda: row["mastery"] == "LEARNING",
        "MASTERED": lambda: row["mastery"] in MASTERED,
        "STRUGGLING": lambda: row["in_play"] and row["answers"] >= 3 and row["accuracy_rate"] < 0.6,
        "DUE": lambda: item_id in oracle.due_today(world, user),
        "LEECH": lambda: row["in_play"] and row["lapses"] >= 8,
        "SET_ASIDE": lambda: row["set_aside"],
        "FADING": lambda: item_id in oracle.fading(world, user),
    }
    return decide[name]()


def _is_listed(
    world: oracle.World, user: str, asked: Mapping[str, Any]
) -> Callable[[str, oracle.Row], bool]:
    name, today = asked["filter"], oracle.day_of(world, user, world.now)
    if name not in DATED:
        return functools.partial(passes, world, user, name)
    span = (asked["start"] or today, asked["end"] or today)
    listed = oracle.items_on(world, user, name, *span)
    return lambda item_id, _: item_id in listed


def list_items(
    world: oracle.World, user: str, is_one: Callable[[str, oracle.Row], bool], order: str = "RECENT"
) -> Json:
    stats = oracle.item_stats(world, user)
    rows = {
        i: {**r, **oracle.item_memory(world, user, i)} for i, r in stats.items() if is_one(i, r)
    }

    def key(item_id: str) -> tuple[float, str]:
        rank = _rank(order, rows[item_id])
        return (math.inf if rank is None else rank, item_id)

    ids = oracle.by_recall(world, user) if order == "RECALL" else sorted(rows, key=key)
    nodes = [{"node": rows[item_id]} for item_id in ids if item_id in rows]
    return {"edges": nodes, "total_count": len(rows)}


def _sessions(world: oracle.World, user: str, first: int) -> Json:
    rows = oracle.sessions(world, user)
    nodes = [{"node": {**row, "given": None}} for row in rows[:first]]
    return {"edges": nodes, "total_count": len(rows)}


def _session(world: oracle.World, user: str, session: str) -> Json:
    rows = {row["id"]: row for row in oracle.sessions(world, user)}
    return rows.get(session) and {**rows[session], "given": oracle.given(world, user, session)}


def _lists(world: oracle.World, user: str, scale: str | None = None) -> Json:
    rows = lists(world, user, scale, STAFF)
    return {"edges": [{"node": row} for row in rows[:20]], "total_count": len(rows)}


def _named(kind: str, rows: Mapping[str, oracle.Row], names: Iterable[str]) -> list[Json]:
    return [{kind: name, **rows[name]} for name in names if name in rows]


def _compute(world: oracle.World, name: str, user: str) -> Json:
    found = oracle.compute_field(world, name, user)
    return found if is_list_type(get_nullable_type(QUERY.fields[name].type)) else [*found, None][0]


def expect(world: oracle.World, user: str, asked: Mapping[str, Any]) -> list[Json]:
    first, last = asked["from"], asked["to"]
    forecast = oracle.due_forecast(world, user, 30)
    language = asked["language"] and asked["language"].lower()
    sums = {
        **{name: _compute(world, name, user) for name in PLAIN},
        "dailyStats": _days(world, user, first, last, fill=False),
        "weeklyStats": _weeks(world, user, first, last, fill=False),
        "monthlyStats": _between(oracle.monthly_stats(world, user), first, last),
        "domainStats": _named("domain", oracle.domain_stats(world, user), DOMAINS),
        "domainStats1": _named("domain", oracle.domain_stats(world, user, language), DOMAINS),
        "levelStats": _named("level", oracle.level_stats(world, user), LEVELS),
        "levelStats1": _named("level", oracle.level_stats(world, user, language), LEVELS),
        "dueForecast": [{"date": d, **row} for d, row in forecast.items()],
        "streakDays": oracle.streak_days(world, user, first, last),
        "restDays": [d for d in sorted(oracle.rest_days(world, user)) if first <= d <= last],
        **{
            f"retention{n}": _between(oracle.retention(world, user, by), first, last)
            for n, by in enumerate(("DAY", "WEEK", "MONTH"))
        },
    }
    items = {
        **{f"item{n}": oracle.remembered_item(world, user, item) for n, item in enumerate(ITEMS)},
        "item9": None,
        **{f"itemHistory{n}": oracle.item_history(world, user, i) for n, i in enumerate(ITEMS[:2])},
        **{
            f"itemForgetting{n}": oracle.item_forgetting(world, user, item, days)
            for n, (item, days) in enumerate(FORGETTING)
        },
        "knowledge": oracle.knowledge(world, user),
        "knowledge1": oracle.knowledge(world, user, language=language),
    }

    def is_found(_: str, row: oracle.Row) -> bool:
        is_match = oracle.folded(asked["search"]) in oracle.folded(row["headword"])
        return is_match and row["level"] == asked["level"]

    def is_spoken(item_id: str, _: oracle.Row) -> bool:
        return language in (None, oracle.language_of(world, item_id))

    listed = {
        "itemStats": list_items(world, user, _is_listed(world, user, asked), asked["orderBy"]),
        "itemStats1": list_items(world, user, is_found),
        "itemStats2": list_items(world, user, lambda _, row: asked["domain"] in row["domains"]),
        "itemStats3": list_items(world, user, is_spoken),
        "sessions": _sessions(world, user, 3),
        **{f"session{n}": _session(world, user, one) for n, one in enumerate(SESSIONS[:2])},
    }
    of_lists = {
        "lists": _lists(world, user),
        "lists1": _lists(world, user, "JLPT"),
        "list0": (found := find_list(world, user, "l1", STAFF))
        and list_numbers(world, user, found),
        "list1": None,
    }
    filled = {
        "dailyStats": _days(world, user, first, last, fill=True),
        "weeklyStats": _weeks(world, user, first, last, fill=True),
    }
    return [as_json(one) for one in (sums, items, listed, of_lists, filled)]


def _like(found: Json, wanted: Json) -> Json:
    """Return what was found, without the fields that the oracle does not have, such as cursors."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {name: _like(found.get(name, "missing"), value) for name, value in wanted.items()}
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_like(one, other) for one, other in zip(found, wanted, strict=True)]
    return found


def compare(query_api: Api, stored: list[oracle.Event], asked: Mapping[str, Any]) -> None:
    moments = {"as_of": asked["asOf"], "known_at": asked["knownAt"]}
    world = oracle.see(stored, LATEST, **moments)
    variables = {name: as_json(value) for name, value in asked.items()}
    for user in EVERYONE:
        for document, wanted in zip(DOCUMENTS, expect(world, user, asked), strict=True):
            answer = query_api.post(document, "sue", roles=["support"], user=user, **variables)
            assert "errors" not in answer, (answer["errors"], document)
            assert _like(answer["data"], wanted) == wanted, (user, asked)


def draw_moments(data: st.DataObject, stored: list[oracle.Event]) -> Iterator[Moments]:
    """Yield up to two pairs of asOf and knownAt; one of the two may be None."""
    happened = [e.occurred_at for e in stored]
    # A deployment's catalogue is often recorded before or long after the learner's events.
    catalogue = [e.occurred_at for e in stored if e.type in CATALOGUE]
    later = [moment + delay for moment in happened[-1:] for delay in LATER]
    near = sorted({moment + nudge for moment in happened for nudge in NEAR} | {*later})
    recorded = sorted({e.created_at + nudge for e in stored for nudge in NEAR})

    def draw(moments: list[datetime]) -> datetime | None:
        return data.draw(st.none() | st.sampled_from(moments)) if moments else None

    for moments in (catalogue or near, near)[: data.draw(st.integers(1, 2))]:
        as_of, known_at = draw(moments), draw(recorded)
        if as_of or known_at:
            yield {"asOf": as_of, "knownAt": known_at}


def draw_arguments(data: st.DataObject, moments: Moments) -> dict[str, Any]:
    near = (moments["asOf"] or moments["knownAt"] or LATEST).date()
    first = near - data.draw(st.sampled_from([0, 1, 9, 40, 200])) * DAY
    filters = ("ALL", "LEARNING", "MASTERED", "STRUGGLING", "DUE", "LEECH", "FADING", *DATED)
    listed = data.draw(st.sampled_from(filters))
    start = data.draw(st.sampled_from([near - 40 * DAY, near, None])) if listed in DATED else None
    return {
        **moments,
        "filter": listed,
        "start": start,
        "end": start and data.draw(st.sampled_from([start, start + 60 * DAY])),
        "from": first,
        "to": first + data.draw(st.sampled_from([0, 30, 60, 300])) * DAY,
        "orderBy": data.draw(st.sampled_from(("RECENT", "DUE", "ACCURACY", "LAPSES", "RECALL"))),
        "search": data.draw(st.sampled_from(("", "OR", "v", "%"))),
        "level": data.draw(st.sampled_from(("A1", "B2", "UNKNOWN"))),
        "domain": data.draw(st.sampled_from(("R", "S", "UNKNOWN"))),
        "language": data.draw(st.sampled_from(("EN", "pt", "und", "UND", "fr", None))),
    }


def arguments_at(as_of: datetime, known_at: datetime | None = None) -> dict[str, Any]:
    values: dict[str, Any] = {"asOf": as_of, "knownAt": known_at, "language": "und", "search": ""}
    values |= {"filter": "ALL", "orderBy": "DUE", "level": "UNKNOWN", "domain": "UNKNOWN"}
    values |= {"from": as_of.date() - 9 * DAY, "to": as_of.date(), "start": None, "end": None}
    return values


def test_every_field_is_answered_by_a_session_that_has_answered_nothing_yet(
    connection: Connection, query_api: Api
) -> None:
    append(connection, [*sample_events.varied_study("ann"), sample_events.item_published("i9")])
    Projector(connection).catch_up_all()
    values = arguments_at(sample_events.BEGIN + 3 * DAY)
    calls = [call for calls in _REQUESTS for call in calls]

    def ask(call: str) -> Json:
        model_rows.read_value(connection, "end sessions", application="past")
        return query_api.data(_document([call]), **{n: as_json(v) for n, v in values.items()})

    first = [ask(call) for call in calls]
    assert [ask(call) for call in calls] == first
    assert any("goal" in data and data["goal"] for data in first)


def test_every_field_equals_the_oracle_s_at_any_moment(
    stage: Stage, postgres_server: Server, query_api: Api
) -> None:
    @postgres_server.examples(1)
    @given(log=logs(), how=disturbances(), data=st.data())
    def every_moment(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        stage.deliver(log, how)
        append(stage.admin, data.draw(cards([e["occurred_at"] for e in log.envelopes])))
        Projector(stage.admin).catch_up_all()
        stored = model_rows.read_events(stage.admin)
        for moments in draw_moments(data, stored):
            compare(query_api, stored, draw_arguments(data, moments))

    every_moment()


@pytest.mark.exhaustive
def test_snapshots_change_no_field(stage: Stage, postgres_server: Server, query_api: Api) -> None:
    @postgres_server.examples(2)
    @given(log=logs(size=40), how=disturbances(), data=st.data())
    def every_moment(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        policy = Policy(event_interval=data.draw(st.integers(1, 4)))
        parts = data.draw(st.integers(1, 4))
        for part in range(parts):
            stage.deliver(replace(log, published=log.published[part::parts]), how)
            stage.take_snapshots(policy)
        stored = model_rows.read_events(stage.admin)
        for moments in draw_moments(data, stored):
            compare(query_api, stored, draw_arguments(data, moments))

    every_moment()
