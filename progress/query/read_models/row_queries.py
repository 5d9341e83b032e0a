"""Queries about one learner. Each query is one SELECT: a SQL block with its parameters.

The typed Python API (`queries`) and GraphQL's fields (`progress.query.graphql.learner_fields`) run
the same queries.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import convert

from progress.query.read_models.rows import (
    DailyStats,
    DomainStats,
    DueDay,
    Goal,
    HourlyStats,
    ItemStats,
    LevelStats,
    MasteryStats,
    PeriodLength,
    PeriodStats,
    Recall,
    Retention,
    Streak,
    UserProgress,
    Workload,
)

_T = TypeVar("_T")
_Row = Mapping[str, Any]


class RowQuery(NamedTuple, Generic[_T]):
    """A block of SQL about one learner, and the function that converts each row to a record.

    With `as_of` or `known_at`, the query is about the past.
    """

    file: str
    block: str
    parameters: Mapping[str, object]  # without `user_id`
    record: Callable[[_Row], _T]
    as_of: datetime | None = None
    known_at: datetime | None = None


def select_user_progress(
    at: datetime, *, as_of: datetime | None = None, known_at: datetime | None = None
) -> RowQuery[UserProgress]:
    now = as_of or known_at or at
    return RowQuery(
        "read_models/user_progress", "current", {"now": now}, _user_progress, as_of, known_at
    )


def select_daily_stats(
    first_day: date,
    last_day: date,
    *,
    zero_fill: bool = False,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> RowQuery[DailyStats]:
    block = "range" if zero_fill else "days"
    parameters = {"first_day": first_day, "last_day": last_day, "zero_fill": zero_fill}
    return RowQuery(
        "read_models/daily_stats", block, parameters, lambda row: DailyStats(**row), as_of, known_at
    )


def select_weekly_stats(
    first_day: date, last_day: date, *, zero_fill: bool = False
) -> RowQuery[PeriodStats]:
    parameters = {"first_day": first_day, "last_day": last_day, "zero_fill": zero_fill}
    return RowQuery("read_models/weekly_stats", "range", parameters, lambda row: PeriodStats(**row))


def select_monthly_stats(first_day: date, last_day: date) -> RowQuery[PeriodStats]:
    parameters = {"first_day": first_day, "last_day": last_day}
    return RowQuery("read_models/daily_stats", "months", parameters, lambda row: PeriodStats(**row))


def select_item(item_id: str, at: datetime) -> RowQuery[ItemStats]:
    return RowQuery(
        "read_models/item_stats",
        "item",
        {"item_id": item_id, "now": at},
        lambda row: convert(dict(row), ItemStats),
    )


def select_domain_stats() -> RowQuery[DomainStats]:
    return RowQuery(
        "read_models/domain_stats", "by domain", {}, lambda row: convert(dict(row), DomainStats)
    )


def select_level_stats(at: datetime) -> RowQuery[LevelStats]:
    return RowQuery(
        "read_models/level_stats",
        "by level",
        {"now": at},
        lambda row: convert(dict(row), LevelStats),
    )


def select_hourly_stats() -> RowQuery[HourlyStats]:
    return RowQuery("read_models/hourly_stats", "hours", {}, lambda row: HourlyStats(**row))


def select_retention(first_day: date, last_day: date, by: PeriodLength) -> RowQuery[Retention]:
    parameters = {"first_day": first_day, "last_day": last_day, "by": by.value}
    return RowQuery("read_models/retention_stats", "periods", parameters, _retention)


def select_streak(
    at: datetime, *, as_of: datetime | None = None, known_at: datetime | None = None
) -> RowQuery[Streak]:
    parameters = {"now": as_of or known_at or at}
    return RowQuery(
        "read_models/learning_streaks",
        "streak",
        parameters,
        lambda row: Streak(**row),
        as_of,
        known_at,
    )


def select_rest_days(first_day: date, last_day: date) -> RowQuery[date]:
    parameters = {"first_day": first_day, "last_day": last_day}
    return RowQuery("read_models/rest_days", "range", parameters, _day)


def select_goal(at: datetime) -> RowQuery[Goal]:
    return RowQuery("read_models/goals", "goal", {"now": at}, lambda row: Goal(**row))


def select_due_forecast(days: int, at: datetime) -> RowQuery[DueDay]:
    parameters = {"days": days, "now": at}
    return RowQuery("read_models/item_stats", "forecast", parameters, lambda row: DueDay(**row))


def select_workload(at: datetime) -> RowQuery[Workload]:
    parameters = {"days": 1, "now": at}
    return RowQuery("read_models/item_stats", "workload", parameters, lambda row: Workload(**row))


def _day(row: _Row) -> date:
    day: date = row["rest_days"]
    return day


def _user_progress(row: _Row) -> UserProgress:
    values = dict(row)
    counts = {name: values.pop(name) for name in MasteryStats.__struct_fields__}
    return UserProgress(**values, mastery_stats=MasteryStats(**counts))


def _retention(row: _Row) -> Retention:
    return Retention(row["start"], row["end"], _recall(row, "young"), _recall(row, "mature"))


def _recall(row: _Row, maturity: str) -> Recall:
    return Recall(*(row[f"{maturity}_{name}"] for name in Recall.__struct_fields__))
