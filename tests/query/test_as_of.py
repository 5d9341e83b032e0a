"""Results of as-of queries equal the oracle's results, for any asOf and knownAt."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from progress.adapters import request_scope
from progress.projections.snapshots import Policy
from tests import oracle
from tests.support import model_rows
from tests.support.api import QueryClient, plain
from tests.support.event_logs import LEARNERS, Disturbance, Log, disturbances, logs
from tests.support.postgres_servers import Server
from tests.support.stage import Stage

pytestmark = [pytest.mark.timeout(900), pytest.mark.every_postgres]

EVERYONE = (*LEARNERS, "nobody")
NEAR = (timedelta(0), timedelta(microseconds=-1), timedelta(microseconds=1))
# Within a day of datetime.min or datetime.max, Python cannot compute the local day.
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)

Moments = dict[str, datetime | None]


def draw_moment(draw: st.DrawFn | Any, moments: list[datetime]) -> datetime | None:
    """Draw None, FIRST, LAST, an event's time, or the microsecond before or after an event."""
    near = sorted({moment + nudge for moment in moments for nudge in NEAR})
    return draw(st.none() | st.sampled_from([*near, FIRST, LAST]))


def fetch_answers(fetch: QueryClient, user: str, days: list[date], **past: Any) -> dict[str, Any]:
    """Return the results of all as-of queries about a learner."""
    progress = plain(fetch(fetch.queries.get_current_progress(user, **past)))
    if progress:
        progress |= plain(progress.pop("mastery_stats")) or {}
    first = min(days, default=date(2024, 3, 1)) - DAY
    range_ = (user, first, first + 730 * DAY)
    return {
        "progress": progress,
        "streak": plain(fetch(fetch.queries.get_streak(user, **past))),
        "days": [*map(plain, fetch(fetch.queries.get_stats_range(*range_, **past)))],
        "filled": len(fetch(fetch.queries.get_stats_range(*range_, zero_fill=True, **past))),
    }


def expected_answers(world: oracle.World, user: str) -> dict[str, Any]:
    """Return the oracle's results, in the format of `fetch_answers`."""
    progress = oracle.user_progress(world, user)
    return {
        "progress": progress,
        "streak": oracle.streak(world, user),
        "days": [{"date": d, **row} for d, row in oracle.daily_stats(world, user).items()],
        "filled": 731 if progress else 0,
    }


def compare(fetch: QueryClient, stored: list[oracle.Event], now: datetime, **past: Any) -> None:
    """Assert that the results about every learner equal the oracle's results."""
    world = oracle.see(stored, now, **past)
    for user in EVERYONE:
        answers = fetch_answers(fetch, user, [*oracle.daily_stats(world, user)], **past)
        assert answers == expected_answers(world, user), (user, past)


def draw_moments(data: st.DataObject, stored: list[oracle.Event]) -> Iterator[Moments]:
    """Yield up to three pairs of asOf and knownAt; one of the two times in a pair may be None."""
    for _ in range(3):
        as_of = draw_moment(data.draw, [e.occurred_at for e in stored])
        known_at = draw_moment(data.draw, [e.created_at for e in stored])
        if as_of or known_at:
            yield {"as_of": as_of, "known_at": known_at}


def test_as_of_results_equal_the_oracle_s_results_at_any_time(
    stage: Stage, postgres_server: Server, fetch: QueryClient
) -> None:
    @postgres_server.examples(2)
    @given(log=logs(), how=disturbances(), data=st.data())
    def every_moment(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        stage.deliver(log, how)
        stored = model_rows.read_events(stage.admin)
        for past in draw_moments(data, stored):
            compare(fetch, stored, log.now, **past)

    every_moment()


def test_a_request_about_many_past_times_has_the_results_of_separate_requests(
    stage: Stage, postgres_server: Server, fetch: QueryClient
) -> None:
    """Within a request, the fold for a past time continues the fold for the next earlier time."""

    async def fetch_together(user: str, requested: list[Any]) -> list[Any]:
        first, last = date(2024, 2, 1), date(2026, 1, 31)
        with request_scope.begin(60.0):
            return await asyncio.gather(
                *(fetch.queries.get_current_progress(user, **past) for past in requested),
                *(fetch.queries.get_stats_range(user, first, last, **past) for past in requested),
                *(fetch.queries.get_streak(user, **past) for past in requested),
            )

    @postgres_server.examples(1)
    @given(log=logs(), how=disturbances(), data=st.data())
    def check_requests(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        stage.deliver(log, how)
        requested = list(draw_moments(data, model_rows.read_events(stage.admin)))
        for user in EVERYONE:
            separate = [fetch(fetch_together(user, [past])) for past in requested]
            together = fetch(fetch_together(user, requested))
            assert together == [
                answer for kind in zip(*separate, strict=True) for answer in kind
            ], user

    check_requests()


def test_snapshots_do_not_change_as_of_results(
    stage: Stage, postgres_server: Server, fetch: QueryClient
) -> None:
    @postgres_server.examples(1)
    @given(log=logs(size=40), how=disturbances(), data=st.data())
    def every_moment(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        policy = Policy(event_interval=data.draw(st.integers(1, 4)))
        parts, snapshots = data.draw(st.integers(1, 5)), 0
        for part in range(parts):
            stage.deliver(replace(log, published=log.published[part::parts]), how)
            snapshots += stage.take_snapshots(policy)
        event(f"{min(snapshots, 5)} snapshots or more")
        stored = model_rows.read_events(stage.admin)
        for past in draw_moments(data, stored):
            compare(fetch, stored, log.now, **past)

    every_moment()
