"""Sums over whole days: weekly_stats and monthly_stats."""

import calendar
from collections.abc import Callable
from datetime import date, timedelta

from tests.oracle.days import day, days_with_rows, stats_of
from tests.oracle.events import Row, World
from tests.oracle.models import defines_by_learner

Period = tuple[date, date]


def week(day: date) -> Period:
    """Return the Monday and the Sunday of the day's ISO week."""
    monday = day - timedelta(days=day.isoweekday() - 1)
    return monday, monday + timedelta(days=6)


def month(day: date) -> Period:
    """Return the first and the last day of the day's calendar month."""
    return day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1])


@defines_by_learner("weekly_stats")
def weekly_stats(world: World, user_id: str) -> dict[date, Row]:
    """Return the learner's rows, keyed by the Monday of each week."""
    return _periods(world, user_id, week)


def monthly_stats(world: World, user_id: str) -> dict[date, Row]:
    """Return the learner's rows, keyed by the first day of each month."""
    return _periods(world, user_id, month)


def _periods(world: World, user_id: str, period: Callable[[date], Period]) -> dict[date, Row]:
    rows = days_with_rows(world, user_id)
    return {
        start: {
            "start": start,
            "end": end,
            "active_days": len(
                study_days(world, user_id) & {d for d in rows if period(d)[0] == start}
            ),
            **stats_of(world, user_id, {d for d in rows if period(d)[0] == start}),
        }
        for start, end in sorted({period(d) for d in rows})
    }


def study_days(world: World, user_id: str) -> set[date]:
    """Return the days with at least one completed session."""
    return {day(world, e) for e in world.completions(user_id)}
