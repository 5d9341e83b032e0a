"""Every number that the queries about learners and groups return equals the oracle's number."""

import functools
import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from progress.query.live.sources import Learners
from progress.query.read_models import groups, rows
from progress.query.read_models.groups import ItemDifficulty, LearnerOrder, LearnerWeek
from progress.query.read_models.rows import CefrLevel, Domain, ItemOrder, PeriodLength
from tests import oracle
from tests.oracle.events import CARD, CATALOGUE, MEMBERSHIPS, SETTINGS_ASIDE
from tests.query import test_past_fields as past_fields
from tests.query.test_lists import EVERYONE, PLAINLY, full, paged
from tests.support import cache_instances, model_rows, sample_events
from tests.support.api import QueryClient, plain
from tests.support.cache_instances import PLAIN
from tests.support.event_logs import ITEMS, Disturbance, Log, Published, logs
from tests.support.stage import Stage

DAY = timedelta(days=1)
DATED = ("ANSWERED", "MISSED", "NEWLY_MASTERED", "SLIPPED_BACK")
FILTERS = ("ALL", "LEARNING", "MASTERED", "STRUGGLING", "LEECH", "SET_ASIDE", "ALL")
ORDERS = ("LAPSES", "DUE", "ACCURACY", "RECENT")
MORE_EXAMPLES = settings(
    max_examples=5 * settings().max_examples // 2, suppress_health_check=list(HealthCheck)
)


def delivered(stage: Stage, log: Log) -> oracle.World:
    stage.sweep()
    stage.deliver(log, PLAINLY)
    return oracle.see(model_rows.read_events(stage.admin), log.now)


def list_items(fetch: QueryClient, user: str, at: datetime, **options: Any) -> set[str]:
    page = fetch(fetch.queries.get_item_stats(user, first=200, at=at, **options))
    assert page.total_count == len(page.items)
    return {item.item_id for _, item in page.items}


def around(days: list[date], draw: st.DataObject) -> tuple[date, date]:
    near = sorted({d + n * DAY for d in days or [date(2024, 3, 1)] for n in range(-32, 32)})
    first = draw.draw(st.sampled_from(near))
    last = draw.draw(st.sampled_from([d for d in near if first <= d <= first + 730 * DAY]))
    return first, last


def inside(rows: dict[date, Any], first: date, last: date) -> list[dict[str, Any]]:
    return [row for day, row in sorted(rows.items()) if first <= day <= last]


@MORE_EXAMPLES
@given(log=logs())
def test_the_fields_without_arguments_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, log: Log
) -> None:
    world = delivered(stage, log)
    last = max((event.occurred_at for event in world.events), default=log.now)
    for at in (log.now, *(last + n * DAY for n in (0, 1, 2, 27, 28))):
        then = replace(world, now=at)
        all_at_once = fetch(Learners(fetch.queries.reader).fetch_states(EVERYONE, at=at))
        for user in EVERYONE:
            wanted = {name: oracle.compute_field(then, name, user) for name in PLAIN}
            for name, value in wanted.items():
                found = fetch(fetch.queries.run(cache_instances.build(name, user, at)))
                rows = found if isinstance(found, list) else [found][: found is not None]
                assert full(rows) == value
            standing = fetch(fetch.queries.get_current_progress(user, at=at))
            streak, state = fetch(fetch.queries.get_streak(user, at=at)), all_at_once[user]
            assert (state.progress, state.streak) == (standing, streak)
            assert state.begins_at <= at < state.expires_at
            for moment in (state.begins_at, state.expires_at - timedelta(microseconds=1)):
                again = Learners(fetch.queries.reader).fetch_states([user], at=moment)
                assert fetch(again) == {user: state}, "it holds from its beginning to its end"
            forecast = fetch(fetch.queries.get_due_forecast(user, 30, at=at))
            found = {d.date: {"items": d.items, "overdue": d.overdue} for d in forecast}
            assert found == oracle.due_forecast(then, user, 30)
            assert list_items(fetch, user, at, filter="DUE") == oracle.due_today(then, user)


@MORE_EXAMPLES
@given(log=logs(), data=st.data())
def test_days_weeks_and_months_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, log: Log, data: st.DataObject
) -> None:
    world = delivered(stage, log)
    for user in EVERYONE:
        days = {d: {"date": d, **row} for d, row in oracle.daily_stats(world, user).items()}
        begins = min(days, default=date(2024, 3, 1)) - 32 * DAY
        for first, last in (around([*days], data), (begins, begins + 730 * DAY)):
            span = (user, first, last)
            stats = [full(one) for one in fetch(fetch.queries.get_stats_range(*span))]
            assert stats == inside(days, first, last)
            assert plain(fetch(fetch.queries.get_daily_stats(user, first))) == days.get(first)
            weeks = [full(one) for one in fetch(fetch.queries.get_weekly_stats(*span))]
            assert weeks == inside(oracle.weekly_stats(world, user), first, last)
            listed = {
                name: list_items(fetch, user, log.now, filter=name, span=(first, last))
                for name in DATED
            }
            assert listed == {n: oracle.items_on(world, user, n, first, last) for n in DATED}
            assert len(listed["NEWLY_MASTERED"]) == sum(d["new_mastery_count"] for d in stats)
            for one in weeks:
                slipped = {"filter": "SLIPPED_BACK", "span": (one["start"], one["end"])}
                assert len(list_items(fetch, user, log.now, **slipped)) == one["slipped_back"]
            months = [*map(plain, fetch(fetch.queries.get_monthly_stats(*span)))]
            assert months == inside(oracle.monthly_stats(world, user), first, last)
            for day in (first, last, date(2060, 7, 1), date(2099, 7, 1), date(2099, 12, 31)):
                found = plain(fetch(fetch.queries.get_local_day(user, day)))
                start, end = (oracle.day_start(world, user, d) for d in (day, day + DAY))
                assert found == {"date": day, "start": start, "end": end}
            resting = fetch(fetch.queries.run(rows.rest_days(*span, at=log.now)))
            wanted = sorted(d for d in oracle.rest_days(world, user) if first <= d <= last)
            assert resting == wanted
            for by in PeriodLength:
                query = rows.retention(*span, by, at=log.now)
                periods = full(fetch(fetch.queries.run(query)))
                assert periods == inside(oracle.retention(world, user, by), first, last)


@MORE_EXAMPLES
@given(log=logs())
def test_items_domains_and_levels_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, log: Log
) -> None:
    world = delivered(stage, log)
    # An item's history covers 731 days.
    nows = (log.now, log.now + 27 * DAY, log.now + 730 * DAY, log.now + 300 * 6 * DAY)
    for user, at in itertools.product(EVERYONE, nows):
        then = replace(world, now=at)
        page = fetch(fetch.queries.get_item_stats(user, first=200, at=at))
        items = {i: oracle.remembered_item(then, user, i) for i in oracle.item_stats(then, user)}
        assert {i.item_id: full(i) for _, i in page.items} == items
        assert page.total_count == len(items)
        levels = fetch(fetch.queries.get_level_stats(user, at=at))
        assert {d.level: plain(d) for d in levels} == oracle.level_stats(then, user)
        for item_id in (*ITEMS, "unheard of"):
            item = fetch(fetch.queries.get_item(user, item_id, at=at))
            assert full(item) == oracle.remembered_item(then, user, item_id)
            history = fetch(fetch.queries.get_item_history(user, item_id, at=at))
            assert full(history) == oracle.item_history(then, user, item_id)
        by_recall: dict[str, Any] = {"first": 200, "at": at, "order_by": ItemOrder.RECALL}
        page = fetch(fetch.queries.get_item_stats(user, **by_recall))
        assert [i.item_id for _, i in page.items] == oracle.by_recall(then, user)
        assert list_items(fetch, user, at, filter="FADING") == oracle.fading(then, user)
        for days in (0, 1, 200, 3_650):
            day = oracle.day_of(then, user, at) + days * DAY
            found = fetch(fetch.queries.get_knowledge(user, day, at=at))
            assert full(found) == oracle.knowledge(then, user, day)
    for user, language in itertools.product(EVERYONE, ("en", "pt", "und", "fr")):
        levels = fetch(fetch.queries.get_level_stats(user, language=language, at=log.now))
        by_level = oracle.level_stats(world, user, language)
        assert {d.level: plain(d) for d in levels} == by_level
        domains = fetch(fetch.queries.get_domain_stats(user, language=language))
        assert {d.domain: plain(d) for d in domains} == oracle.domain_stats(world, user, language)
        known = fetch(fetch.queries.get_knowledge(user, language=language, at=log.now))
        assert full(known) == oracle.knowledge(world, user, language=language)
        listed = list_items(fetch, user, log.now, language=language)
        stats = oracle.item_stats(world, user)
        assert listed == {item for item in stats if oracle.language_of(world, item) == language}
    for user in EVERYONE:
        for name, order in zip(FILTERS, itertools.cycle(ORDERS)):
            chosen: Any = {"filter": name, "order_by": order, "first": 200, "at": log.now}
            page = fetch(fetch.queries.get_item_stats(user, **chosen))
            is_one = functools.partial(past_fields.passes, world, user, name)
            edges = past_fields.list_items(world, user, is_one, order)["edges"]
            assert [i.item_id for _, i in page.items] == [one["node"]["item_id"] for one in edges]
        for at in (log.now - 8 * DAY, log.now, log.now + 40 * DAY):
            then, span = replace(world, now=at), (at.date() - 60 * DAY, at.date() + 9 * DAY)
            curve = fetch(fetch.queries.get_mastery_curve(user, *span, at=at))
            assert [*map(plain, curve)] == oracle.mastery_curve(then, user, *span)
            if curve and curve[-1].end == oracle.day_of(then, user, at):
                standing = fetch(fetch.queries.get_current_progress(user, at=at))
                counts = oracle.count_masteries(then, user)
                assert standing
                assert counts.items() <= full(standing.mastery_stats).items()
        reached = fetch(fetch.queries.get_milestones(user, first=200))
        expected = [{**row, "id": str(row["id"])} for row in oracle.milestones(world, user)]
        assert [plain(milestone) for _, milestone in reached.items] == expected
        domains = fetch(fetch.queries.get_domain_stats(user))
        assert {d.domain: plain(d) for d in domains} == oracle.domain_stats(world, user)


MEMBERS = ("ann", "bob", "cid", "dan", "eve", "fay", "una")
GROUPS = ("g1", "g2")
ZONES = ("UTC", "Pacific/Kiritimati", "America/New_York", "Asia/Kathmandu")
NOW = datetime(2024, 6, 12, 11, tzinfo=UTC)
KINDS = {
    "CorrectAnswerGiven": 40,
    "IncorrectAnswerGiven": 35,
    "SessionCompleted": 20,
    "ReviewProcessed": 8,
    "LearnerJoinedGroup": 16,
    "LearnerLeftGroup": 5,
    "UserPreferencesChanged": 4,
    "RestDayTaken": 24,
    "GoalSet": 8,
    "UserDeleted": 1,
    "UserCreated": 1,
    "ItemPublished": 2,
    "ItemArchived": 1,
}
STUDIES = ("CorrectAnswerGiven", "IncorrectAnswerGiven", "SessionCompleted")
REVIEWS = (CARD, *SETTINGS_ASIDE)
IN_PARTS = Disturbance(sizes=(7, 1, 30), every=2, limit=9, workers=1, tasks=1, crashes=())


def generate_log(seed: int) -> Log:
    """Return a log of 7 learners, 3 items and 2 groups. The events arrive in random order."""
    chance = random.Random(seed)
    # A low accuracy puts a learner at risk only after 20 answers, so one learner gets more events.
    # Another one never studies, and a third has not studied for about a week.
    busy, idle, away = chance.sample(MEMBERS, 3)
    absence = timedelta(days=chance.choice((8, 9)))
    kinds = chance.choices(list(KINDS), weights=list(KINDS.values()), k=130)
    # Some events happen at the same moment, some after NOW.
    moments = [NOW + timedelta(hours=chance.randint(-24 * 9, 30)) for _ in range(40)]
    published = []
    for number, kind in enumerate(kinds):
        user, at = chance.choice((busy, *MEMBERS)), chance.choice(moments)
        if user == idle and kind in STUDIES:
            user = busy
        event = generate_event(number, kind, user, at - absence if user == away else at, chance)
        published.append(Published(event, (chance.randint(0, 99),)))
    # These preference events happen at NOW and arrive last. If a learner has no earlier time zone,
    # the new one also applies to all earlier answers. Otherwise, earlier answers keep their days.
    for number, user in enumerate(chance.sample(MEMBERS, 3)):
        event = generate_event(200 + number, "UserPreferencesChanged", user, NOW, chance)
        published.append(Published(event, (100,)))
    for number in range(300, 330):
        kind, user = chance.choice(REVIEWS), chance.choice([one for one in MEMBERS if one != idle])
        at = chance.choice(moments) - (absence if user == away else timedelta(0))
        event = generate_event(number, kind, user, at, chance)
        published.append(Published(event, (chance.randint(0, 100),)))
    for number in range(400, 400 + chance.randint(0, 2)):
        taken = chance.choice(published).envelope
        user, at = taken["data"].get("user_id", idle), chance.choice(moments)
        event = generate_event(number, "EventRetracted", user, at, chance)
        event["data"]["retracted_event_id"] = taken["event_id"]
        published.append(Published(event, (chance.randint(0, 100),)))
    return Log(tuple(published), NOW)


def generate_event(
    number: int, kind: str, user: str, at: datetime, chance: random.Random
) -> dict[str, Any]:
    owner = {} if kind in CATALOGUE else {"user_id": user}
    return {
        "event_id": str(UUID(int=chance.getrandbits(8) << 120 | number)),
        "event_type": kind,
        "occurred_at": at.isoformat(),
        "data": {**owner, **generate_data(kind, chance)},
        "metadata": {},
    }


def generate_data(kind: str, chance: random.Random) -> dict[str, Any]:
    item = {"item_id": chance.choice(("i1", "i2", "i3"))}
    if kind in SETTINGS_ASIDE:
        return item
    if kind == CARD:
        return {"rating": chance.randint(1, 4), "interval_days": chance.choice((3, 8)), **item}
    zone = {"timezone": chance.choice(ZONES), "day_start_hour": chance.choice((0, 4))}
    answer: dict[str, Any] = {"session_id": "s1", **item}
    if item["item_id"] != "i3" and chance.random() < 0.8:
        answer["response_time_ms"] = chance.choice((0, 1, 2, 3, 86_400_000))
    session = f"s{chance.randint(1, 99)}"
    group = {"group_id": chance.choice(GROUPS)}
    level = chance.choice(("A1", "B2"))
    fields: dict[str, dict[str, Any]] = {
        "GoalSet": {"answers_per_day": chance.choice((0, 1, 2))},
        "CorrectAnswerGiven": answer,
        "IncorrectAnswerGiven": answer,
        "SessionCompleted": chance.choice(
            ({"session_id": session}, {"session_id": session, "score": 50, "duration_seconds": 60})
        ),
        "ReviewProcessed": {
            "new_interval": chance.choice((3, 8, 3, 8, 2**32 - 1)),
            "easiness_factor": chance.choice((2.5, None)),
            **item,
        },
        "LearnerJoinedGroup": group,
        "LearnerLeftGroup": group,
        "UserPreferencesChanged": zone,
        "UserCreated": {**zone, "email": "a@example.com"},
        "RestDayTaken": {"date": f"2024-06-{chance.choice((5, 8, 9, 10, 11, 12)):02}"},
        "ItemPublished": {"domains": ["R"], "cefr_level": level, "headword": "word", **item},
        "ItemArchived": item,
    }
    return fields.get(kind, {})


@settings(max_examples=max(2, settings().max_examples // 4))
@given(seed=st.integers(0, 2**32))
@example(seed=16395869)  # a member's zone changes after the last answers
def test_groups_and_difficulties_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, seed: int
) -> None:
    log = generate_log(seed)
    stage.sweep()
    stage.deliver(log, IN_PARTS)
    stored = model_rows.read_events(stage.admin)
    world = oracle.see(stored, log.now)
    reader = fetch.queries.reader
    assert stage.differences(log.now) == []
    page = fetch(groups.get_groups(reader, None, first=200, at=log.now))
    assert [plain(standing) for _, standing in page.items] == [
        oracle.group(world, group) for group, _ in oracle.find_groups(world)
    ]
    for group in (*GROUPS, "nobody's"):
        compare_group(fetch, world, group, orders=LearnerOrder)
    for back in (timedelta(0), DAY, timedelta(hours=60), 8 * DAY):
        then = oracle.see(stored, log.now, as_of=NOW - back)
        for group in GROUPS:
            compare_group(fetch, with_present_members(then, world), group, as_of=NOW - back)
            compare_settled(fetch, with_present_members(then, world), group, NOW - back)
    for level, domain in (
        (None, None),
        (CefrLevel.A1, None),
        (None, Domain.R),
        (CefrLevel.UNKNOWN, Domain.UNKNOWN),
    ):
        items = functools.partial(
            groups.get_item_difficulty, reader, level=level, domain=domain, first=1
        )
        listed = paged(fetch, items)
        assert listed == difficulties(oracle.item_difficulty(world, level, domain))


def test_a_retracted_rest_day_joins_no_study_days_of_a_class_s_past(
    stage: Stage, fetch: QueryClient
) -> None:
    answer = {"session_id": "s1", "item_id": "i1"}
    events = [
        sample_events.envelope(
            kind, {"user_id": "ann", **fields}, at=datetime(2024, 6, day, 12, tzinfo=UTC)
        )
        for kind, day, fields in (
            ("LearnerJoinedGroup", 1, {"group_id": "g1"}),
            ("CorrectAnswerGiven", 4, answer),
            ("RestDayTaken", 4, {"date": "2024-06-05"}),
            ("RestDayTaken", 4, {"date": "2024-06-12"}),
            ("EventRetracted", 5, {}),
            ("CorrectAnswerGiven", 6, answer),
        )
    ]
    events[4]["data"]["retracted_event_id"] = events[2]["event_id"]
    stage.deliver(Log(tuple(Published(event, (0,)) for event in events), NOW), IN_PARTS)
    stored = model_rows.read_events(stage.admin)
    for as_of in (datetime(2024, 6, 6, 18, tzinfo=UTC), NOW):
        compare_settled(fetch, oracle.see(stored, NOW, as_of=as_of), "g1", as_of)


def with_present_members(then: oracle.World, now: oracle.World) -> oracle.World:
    kept = [event for event in then.events if event.type not in MEMBERSHIPS]
    events = kept + [event for event in now.events if event.type in MEMBERSHIPS]
    return replace(then, events=tuple(sorted(events, key=lambda event: event.when)))


def compare_settled(fetch: QueryClient, world: oracle.World, group: str, as_of: datetime) -> None:
    """Assert that the numbers that need no states of memory, from live rows, are right, too."""
    reader = fetch.queries.reader
    past: Any = {"at": NOW, "as_of": as_of, "order_by": LearnerOrder.PRAISE, "estimates": False}
    learners = functools.partial(groups.get_learners, reader, group, first=2, **past)
    more = {"expected_known": 0.0, "group_id": group, "as_of": as_of}
    assert paged(fetch, learners) == [
        {**row, **more, "weeks": learner_weeks(world, row["user_id"])}
        for row in oracle.learners(world, group, "PRAISE")
    ]


def compare_group(
    fetch: QueryClient,
    world: oracle.World,
    group: str,
    as_of: datetime | None = None,
    orders: Iterable[LearnerOrder] = (LearnerOrder.PRAISE,),
) -> None:
    reader = fetch.queries.reader
    moment: Any = {"at": NOW, "as_of": as_of}
    past = {"as_of": as_of} if as_of else {}
    standing, wanted = fetch(groups.get_group(reader, group, **moment)), oracle.group(world, group)
    assert plain(standing) == (wanted and {**wanted, **past})
    hardest = fetch(groups.get_hardest_items(reader, group, 200, **moment))
    assert [*map(plain, hardest)] == difficulties(oracle.hardest_items(world, group, 200))
    assert fetch(groups.get_hardest_items(reader, group, 1, **moment)) == hardest[:1]
    known = {
        user: {
            "expected_known": oracle.knowledge(world, user)["expected"],
            "weeks": learner_weeks(world, user),
            **(past and {**past, "group_id": group}),
        }
        for user in MEMBERS
    }
    for order in orders:
        learners = functools.partial(
            groups.get_learners, reader, group, order_by=order, first=2, **moment
        )
        assert paged(fetch, learners) == [
            {**row, **known[row["user_id"]]} for row in oracle.learners(world, group, order)
        ]
    members = oracle.members(world, group)
    for days in (-1, 0, 1, 8, 366):
        asked: list[tuple[str, date | int]] = [(u, days) for u in members if days > 0]
        asked += [(u, oracle.day_of(world, u, world.now) - days * DAY) for u in members]
        if asked:
            done = fetch(groups.get_since(reader, asked, group_id=group, **moment))
            assert [*map(full, done)] == [oracle.since(world, *each) for each in asked]
    weeks = fetch(groups.get_weeks(reader, group, **moment))
    assert [*map(plain, weeks)] == oracle.weeks(world, members, world.now)
    found = fetch(groups.get_knowledge(reader, group, **moment))
    assert plain(found) == oracle.group_knowledge(world, group)
    for later in (0, 3, 30):
        at = NOW + later * DAY
        then = world if as_of else replace(world, now=at)
        fading = fetch(groups.get_items_fading(reader, group, 2, at=at, as_of=as_of))
        assert [*map(plain, fading)] == oracle.items_fading(then, group, 2)


def learner_weeks(world: oracle.World, user: str) -> list[oracle.Row]:
    weeks = oracle.weeks(world, [user], world.now)
    return [{name: week[name] for name in LearnerWeek.__struct_fields__} for week in weeks]


def difficulties(rows: list[oracle.Row]) -> list[oracle.Row]:
    return [{name: row[name] for name in ItemDifficulty.__struct_fields__} for row in rows]
