"""The fields about one learner, each resolved by a single SELECT.

Each field is declared with its arguments, SQL, cache policy and cost.
"""

from datetime import date, datetime
from typing import Annotated

import strawberry
from strawberry import ID, UNSET

from progress.query.cache.policy import CachePolicy
from progress.query.graphql import arguments, types
from progress.query.graphql.fields import Cost, declare_learner_field
from progress.query.read_models import row_queries, rows
from progress.query.read_models.row_queries import RowQuery

From = Annotated[date, strawberry.argument(name="from")]


@declare_learner_field(
    types.UserProgress | None,
    "The learner's standing. userId defaults to the caller; "
    "another learner's needs a role that may read it.",
    # `unlearned` depends on the catalogue, and the current streak depends on the local date.
    cache=CachePolicy(10, catalogue=True, clock=True, is_summary=True),
    cost=Cost(30, rows_with={"asOf": 70, "knownAt": 70}),
)
def user_progress(
    at: datetime, as_of: datetime | None = UNSET, known_at: datetime | None = UNSET
) -> RowQuery[rows.UserProgress]:
    return row_queries.select_user_progress(at, as_of=as_of or None, known_at=known_at or None)


@declare_learner_field(
    types.list_of(rows.DailyStats),
    "The rows that exist in the range, oldest first; "
    "with zeroFill, one for every day. At most 731 days.",
    cache=CachePolicy(15, period="daily"),
)
def daily_stats(
    _: datetime,
    *,
    from_: From,
    to: date,
    zero_fill: bool | None = False,
    as_of: datetime | None = UNSET,
    known_at: datetime | None = UNSET,
) -> RowQuery[rows.DailyStats]:
    arguments.check_range(from_, to)
    return row_queries.select_daily_stats(
        from_, to, zero_fill=bool(zero_fill), as_of=as_of or None, known_at=known_at or None
    )


@declare_learner_field(
    types.list_of(rows.PeriodStats),
    "ISO weeks by their Monday, oldest first.",
    cache=CachePolicy(60, batch=True, period="weekly", period_days=6),
    cost=Cost(days_per_entry=7),
)
def weekly_stats(
    _: datetime, *, from_: From, to: date, zero_fill: bool | None = False
) -> RowQuery[rows.PeriodStats]:
    arguments.check_range(from_, to)
    return row_queries.select_weekly_stats(from_, to, zero_fill=bool(zero_fill))


@declare_learner_field(
    types.list_of(rows.PeriodStats),
    "Computed when asked.",
    cache=CachePolicy(30, period="monthly", period_days=30),
    cost=Cost(100, rows_per_day=1 / 7, days_per_entry=28),
)
def monthly_stats(_: datetime, *, from_: From, to: date) -> RowQuery[rows.PeriodStats]:
    arguments.check_range(from_, to)
    return row_queries.select_monthly_stats(from_, to)


@declare_learner_field(
    types.ItemStats | None,
    cache=CachePolicy(30, catalogue=True, hourly="estimatedRecall"),
)
def item(at: datetime, *, item_id: ID) -> RowQuery[rows.ItemStats]:
    return row_queries.select_item(arguments.parse_id("itemId", item_id), at)


# The batch job counts the catalogue's items, so these rows change only when the job runs. The
# policy therefore needs no `catalogue`.
@declare_learner_field(types.list_of(rows.DomainStats), cache=CachePolicy(60, batch=True))
def domain_stats(_: datetime) -> RowQuery[rows.DomainStats]:
    return row_queries.select_domain_stats()


@declare_learner_field(
    types.list_of(rows.LevelStats), cache=CachePolicy(60, batch=True, clock=True)
)
def level_stats(at: datetime) -> RowQuery[rows.LevelStats]:
    return row_queries.select_level_stats(at)


@declare_learner_field(types.list_of(rows.HourlyStats), cache=CachePolicy(15))
def hourly_stats(_: datetime) -> RowQuery[rows.HourlyStats]:
    return row_queries.select_hourly_stats()


@declare_learner_field(
    types.list_of(rows.Retention),
    "Periods with a test, oldest first. At most 731 days.",
    cache=CachePolicy(15, period="retention", period_days=30),
    cost=Cost(2),
)
def retention(
    _: datetime, *, from_: From, to: date, by: rows.PeriodLength | None = rows.PeriodLength.DAY
) -> RowQuery[rows.Retention]:
    arguments.check_range(from_, to)
    return row_queries.select_retention(from_, to, rows.PeriodLength(by or "DAY"))


@declare_learner_field(types.Streak, cache=CachePolicy(5, clock=True))
def streak(
    at: datetime, as_of: datetime | None = UNSET, known_at: datetime | None = UNSET
) -> RowQuery[rows.Streak]:
    return row_queries.select_streak(at, as_of=as_of or None, known_at=known_at or None)


@declare_learner_field(
    list[date], "Rest days in the range, oldest first. At most 731 days.", cache=CachePolicy(15)
)
def rest_days(_: datetime, *, from_: From, to: date) -> RowQuery[date]:
    arguments.check_range(from_, to)
    return row_queries.select_rest_days(from_, to)


@declare_learner_field(
    types.Goal | None, "Null where no goal is in force.", cache=CachePolicy(10, clock=True)
)
def goal(at: datetime) -> RowQuery[rows.Goal]:
    return row_queries.select_goal(at)


@declare_learner_field(
    types.list_of(rows.DueDay),
    "Items falling due on each local day from today; "
    "what is overdue counts today. At most 366 days.",
    # `catalogue`, because archived items are never due.
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(75),
)
def due_forecast(at: datetime, days: int | None = 14) -> RowQuery[rows.DueDay]:
    return row_queries.select_due_forecast(arguments.parse_forecast_days(days), at)


@declare_learner_field(
    types.type_of(rows.Workload),
    cache=CachePolicy(10, catalogue=True, clock=True),
    cost=Cost(75),
)
def workload(at: datetime) -> RowQuery[rows.Workload]:
    return row_queries.select_workload(at)
