"""Every number that the read model queries return equals the oracle's number."""

import itertools
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progress.query.live.sources import Learners
from progress.query.read_models import rows
from progress.query.read_models.rows import PeriodLength, Retention
from tests import oracle
from tests.support import model_rows
from tests.support.api import QueryClient, plain
from tests.support.event_logs import ITEMS, LEARNERS, Disturbance, Log, logs
from tests.support.stage import Stage

PLAINLY = Disturbance(sizes=(100,), every=None, limit=1000, workers=1, tasks=1, crashes=())
EVERYONE = (*LEARNERS, "nobody")
DAY = timedelta(days=1)


def delivered(stage: Stage, log: Log) -> oracle.World:
    """Deliver and fold the log; return the oracle's view of the log."""
    stage.sweep()
    stage.deliver(log, PLAINLY)
    return oracle.see(model_rows.read_events(stage.admin), log.now)


def flat(progress: Any) -> dict[str, Any] | None:
    """Return a learner's progress as one flat row with the mastery counts."""
    row = plain(progress)
    return row and {**(plain(row.pop("mastery_stats")) or {}), **row}


def list_items(fetch: QueryClient, user: str, at: datetime, **options: Any) -> set[str]:
    """Return the ids of all items that match the options; assert that the total count is right."""
    page = fetch(fetch.queries.get_item_stats(user, first=200, at=at, **options))
    assert page.total_count == len(page.items)
    return {item.item_id for _, item in page.items}


def of_period(retention: Retention) -> dict[str, Any]:
    """Return the retention of a period in the oracle's format."""
    return {
        **(plain(retention) or {}),
        "young": plain(retention.young),
        "mature": plain(retention.mature),
    }


def around(days: list[date], draw: st.DataObject) -> tuple[date, date]:
    """Draw a range that begins and ends near some of the days."""
    near = sorted({d + n * DAY for d in days or [date(2024, 3, 1)] for n in range(-32, 32)})
    first = draw.draw(st.sampled_from(near))
    last = draw.draw(st.sampled_from([d for d in near if first <= d <= first + 730 * DAY]))
    return first, last


def inside(rows: dict[date, Any], first: date, last: date) -> list[dict[str, Any]]:
    """Return the rows in the range, oldest first."""
    return [row for day, row in sorted(rows.items()) if first <= day <= last]


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(log=logs())
def test_the_progress_the_streak_the_goal_and_the_forecast_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, log: Log
) -> None:
    world = delivered(stage, log)
    last = max((event.occurred_at for event in world.events), default=log.now)
    for at in (log.now, *(last + n * DAY for n in (0, 1, 2, 27, 28))):
        then = replace(world, now=at)
        all_at_once = fetch(Learners(fetch.queries.reader).fetch_states(EVERYONE, at=at))
        for user in EVERYONE:
            standing = flat(fetch(fetch.queries.get_current_progress(user, at=at)))
            assert standing == oracle.user_progress(then, user)
            streak = plain(fetch(fetch.queries.get_streak(user, at=at)))
            assert streak == oracle.streak(then, user)
            state = all_at_once[user]
            assert (flat(state.progress), plain(state.streak)) == (standing, streak)
            goals = fetch(fetch.queries.run(user, rows.select_goal(at)))
            assert [*map(plain, goals)] == [row for row in [oracle.goal(then, user)] if row]
            assert state.expires_at > at
            forecast = fetch(fetch.queries.get_due_forecast(user, 30, at=at))
            found = {d.date: {"items": d.items, "overdue": d.overdue} for d in forecast}
            assert found == oracle.due_forecast(then, user, 30)
            assert list_items(fetch, user, at, filter="DUE") == oracle.due_today(then, user)
            (workload,) = fetch(fetch.queries.run(user, rows.select_workload(at)))
            assert plain(workload) == oracle.workload(then, user)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
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
            stats = [*map(plain, fetch(fetch.queries.get_stats_range(*span)))]
            assert stats == inside(days, first, last)
            assert plain(fetch(fetch.queries.get_daily_stats(user, first))) == days.get(first)
            weeks = [*map(plain, fetch(fetch.queries.get_weekly_stats(*span)))]
            assert weeks == inside(oracle.weekly_stats(world, user), first, last)
            months = [*map(plain, fetch(fetch.queries.get_monthly_stats(*span)))]
            assert months == inside(oracle.monthly_stats(world, user), first, last)
            resting = fetch(fetch.queries.run(user, rows.select_rest_days(first, last)))
            wanted = sorted(d for d in oracle.rest_days(world, user) if first <= d <= last)
            assert resting == wanted
            for by in PeriodLength:
                query = rows.select_retention(first, last, by)
                periods = [*map(of_period, fetch(fetch.queries.run(user, query)))]
                assert periods == inside(oracle.retention(world, user, by), first, last)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(log=logs())
def test_the_analysts_views_of_domains_and_levels_equal_the_oracle_s_results(
    stage: Stage, log: Log
) -> None:
    world = delivered(stage, log)
    definitions = {"domain": oracle.domain_stats, "level": oracle.level_stats}
    for (kind, define), user in itertools.product(definitions.items(), EVERYONE):
        table = model_rows.read_table(stage.admin, f"{kind}_stats")
        rows = {row[kind]: row for row in table if row["user_id"] == user}
        expected = define(world, user) if oracle.user_progress(world, user) else {}
        assert rows.keys() == expected.keys()
        for name, row in rows.items():
            assert row | expected[name] == expected[name] | row  # the columns of both are equal


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(log=logs())
def test_items_domains_and_levels_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, log: Log
) -> None:
    world = delivered(stage, log)
    # An item's history covers 731 days. The estimated recall is 0 when 300 intervals (here 6 days
    # each) have passed since the review.
    nows = (log.now, log.now + 27 * DAY, log.now + 730 * DAY, log.now + 300 * 6 * DAY)
    for user, at in itertools.product(EVERYONE, nows):
        then = replace(world, now=at)
        page = fetch(fetch.queries.get_item_stats(user, first=200, at=at))
        items = oracle.item_stats(then, user)
        assert {i.item_id: plain(i) for _, i in page.items} == items
        assert page.total_count == len(items)
        levels = fetch(fetch.queries.get_level_stats(user, at=at))
        assert {d.level: plain(d) for d in levels} == oracle.level_stats(then, user)
        for item_id in (*ITEMS, "unheard of"):
            item = fetch(fetch.queries.get_item(user, item_id, at=at))
            assert plain(item) == oracle.item(then, user, item_id)
            history = fetch(fetch.queries.get_item_history(user, item_id, at=at))
            assert msgspec.to_builtins(history, builtin_types=(date, datetime)) == (
                oracle.item_history(then, user, item_id)
            )
    for user in EVERYONE:
        domains = fetch(fetch.queries.get_domain_stats(user))
        assert {d.domain: plain(d) for d in domains} == oracle.domain_stats(world, user)
        hours = fetch(fetch.queries.run(user, rows.select_hourly_stats()))
        assert {h.hour: plain(h) for h in hours} == oracle.hourly_stats(world, user)
