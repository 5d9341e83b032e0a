"""The questions that the read models answer, as typed rows; None where there is no row.

Each takes a learner; `at` is the moment that decides what today is, now if left out. With
`as_of` only what had happened by then counts, with `known_at` only what had been recorded, and
today is that moment's (of both, as_of's). All raise Unavailable if the database does not answer.
"""

import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from msgspec import convert

from progress.errors import ProjectionError
from progress.query.read_models import reader
from progress.query.read_models.rows import (
    CefrLevel,
    DailyStats,
    Domain,
    DomainStats,
    DueDay,
    ItemFilter,
    ItemKey,
    ItemOrder,
    ItemPage,
    ItemStats,
    LevelStats,
    MasteryStats,
    PeriodStats,
    ProjectionStatus,
    RecordedEvent,
    Streak,
    UserProgress,
)


async def get_current_progress(
    user_id: str,
    *,
    at: datetime | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> UserProgress | None:
    """How the learner stands; None for one without events, or deleted."""
    ask = _asking(user_id, as_of or known_at or at, as_of=as_of, known_at=known_at)
    found = await ask("read_models/user_progress", "current")
    for row in found:
        values = dict(row)
        counts = {name: values.pop(name) for name in MasteryStats.__struct_fields__}
        return UserProgress(**values, mastery_stats=MasteryStats(**counts))
    return None


async def get_daily_stats(user_id: str, date: date) -> DailyStats | None:
    """One local day; None where nothing happened."""
    for row in await get_stats_range(user_id, date, date):
        return row
    return None


async def get_stats_range(
    user_id: str,
    start_date: date,
    end_date: date,
    *,
    zero_fill: bool = False,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> list[DailyStats]:
    """The local days of a range, both ends inclusive, oldest first.

    Those on which something happened; with `zero_fill` all, unless the learner has no events.
    """
    ask = _asking(user_id, as_of or known_at, as_of=as_of, known_at=known_at)
    found = await ask(
        "read_models/daily_stats",
        "range" if zero_fill else "days",
        first_day=start_date,
        last_day=end_date,
        zero_fill=zero_fill,
    )
    return [DailyStats(**row) for row in found]


async def get_weekly_stats(
    user_id: str, start_date: date, end_date: date, *, zero_fill: bool = False
) -> list[PeriodStats]:
    """The whole weeks whose Monday lies in the range, oldest first."""
    found = await reader.rows(
        "read_models/weekly_stats",
        "range",
        user_id=user_id,
        first_day=start_date,
        last_day=end_date,
        zero_fill=zero_fill,
    )
    return [PeriodStats(**row) for row in found]


async def get_monthly_stats(user_id: str, start_date: date, end_date: date) -> list[PeriodStats]:
    """The whole calendar months whose first day lies in the range, oldest first."""
    found = await reader.rows(
        "read_models/daily_stats",
        "months",
        user_id=user_id,
        first_day=start_date,
        last_day=end_date,
    )
    return [PeriodStats(**row) for row in found]


async def get_item_stats(
    user_id: str,
    *,
    first: int,
    filter: ItemFilter = ItemFilter.ALL,  # noqa: A002 - the contract's word
    order_by: ItemOrder = ItemOrder.RECENT,
    level: CefrLevel | None = None,
    domain: Domain | None = None,
    after: ItemKey | None = None,
    at: datetime | None = None,
) -> ItemPage:
    """The `first` items that come after a key, of those that the learner met."""
    found = await reader.rows(
        "read_models/item_stats",
        "list",
        user_id=user_id,
        filter=filter,
        order_by=order_by,
        level=level,
        domain=domain,
        after_item=after.item_id if after else None,
        after_key=after.rank if after else None,
        first=first + 1,
        now=_moment(at),
    )
    total = found[0]["total_count"]
    items = [_listed(dict(row)) for row in found if row["item_id"] is not None]
    return ItemPage(items[:first], has_next=len(items) > first, total_count=total)


def _listed(row: dict[str, object]) -> tuple[ItemKey, ItemStats]:
    del row["total_count"]
    key = ItemKey(row.pop("sort_key"), row["item_id"])  # type: ignore[arg-type] # as the block says
    return key, convert(row, ItemStats)


async def get_item(user_id: str, item_id: str) -> ItemStats | None:
    """One item; None if it was neither described nor met."""
    for row in await reader.rows(
        "read_models/item_stats", "item", user_id=user_id, item_id=item_id
    ):
        return convert(dict(row), ItemStats)
    return None


async def get_domain_stats(user_id: str) -> list[DomainStats]:
    """Every domain that the catalogue has or the learner studied, in the order R W L S UNKNOWN."""
    found = await reader.rows("read_models/domain_stats", "by domain", user_id=user_id)
    return [convert(dict(row), DomainStats) for row in found]


async def get_level_stats(user_id: str) -> list[LevelStats]:
    """Every level that the catalogue has or the learner studied, easiest first, UNKNOWN last."""
    found = await reader.rows("read_models/level_stats", "by level", user_id=user_id)
    return [convert(dict(row), LevelStats) for row in found]


async def get_streak(
    user_id: str,
    *,
    at: datetime | None = None,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> Streak:
    """The learner's streak on their local day at the moment; zeros for one without events."""
    ask = _asking(user_id, as_of or known_at or at, as_of=as_of, known_at=known_at)
    found = await ask("read_models/learning_streaks", "streak")
    return Streak(**found[0])


async def get_due_forecast(user_id: str, days: int, *, at: datetime | None = None) -> list[DueDay]:
    """How many items fall due on each of `days` local days from today."""
    found = await reader.rows(
        "read_models/item_stats", "forecast", user_id=user_id, days=days, now=_moment(at)
    )
    return [DueDay(**row) for row in found]


async def get_projection_status(*, at: datetime | None = None) -> list[ProjectionStatus]:
    """How far each projection is behind the log."""
    found = await reader.rows("projections/checkpoints", "status", now=_moment(at))
    return [convert(dict(row), ProjectionStatus) for row in found]


async def check_lag(projection_name: str, *, at: datetime | None = None) -> ProjectionStatus:
    """How far one projection is behind, NORMAL or CRITICAL; ProjectionError if there is none."""
    for status in await get_projection_status(at=at):
        if status.name == projection_name:
            return status
    raise ProjectionError(f"there is no projection {projection_name}")


async def get_recorded_events(
    user_id: str,
    *,
    first: int,
    types: Sequence[str] | None = None,
    before_version: int | None = None,
) -> list[RecordedEvent]:
    """The learner's newest events, of those before a version of their stream."""
    found = await reader.rows(
        "query/audit_trail",
        "page",
        user_id=user_id,
        types=types,
        before=before_version,
        first=first,
    )
    return [RecordedEvent(**dict(row) | {"event_id": str(row["event_id"])}) for row in found]


def _asking(
    user_id: str, at: datetime | None, *, as_of: datetime | None, known_at: datetime | None
) -> Callable[..., Awaitable[list[Any]]]:
    """Asks about the learner, in the present or in the past."""
    if as_of is None and known_at is None:
        return functools.partial(reader.rows, user_id=user_id, now=_moment(at))
    return functools.partial(
        reader.rows_as_of, user_id=user_id, as_of=as_of, known_at=known_at, now=at
    )


def _moment(at: datetime | None) -> datetime:
    return at or datetime.now(UTC)
