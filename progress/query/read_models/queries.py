"""The typed Python API of the read models: its methods return records.

`at` decides which day is today; the default is the current time. `as_of` selects the events that
had happened by that time, `known_at` those that had been recorded by that time. Today is then the
day of `as_of` or, if only `known_at` is given, the day of `known_at`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from msgspec import convert

from progress import settings
from progress.errors import ProjectionError
from progress.query.read_models import rows
from progress.query.read_models.reader import Page, Reader

_T = TypeVar("_T")


class Queries:
    """Typed queries. All methods raise Unavailable if the database does not respond."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def run(self, user_id: str, query: rows.RowQuery[_T]) -> list[_T]:
        """Return the records of a row query about a learner."""
        parameters = {"user_id": user_id, **query.parameters}
        if query.as_of is None and query.known_at is None:
            found = await self.reader.fetch(query.file, query.block, **parameters)
        else:
            found = await self.reader.fetch_as_of(
                query.file,
                query.block,
                parameters,
                as_of=query.as_of,
                known_at=query.known_at,
            )
        return [query.record(row) for row in found]

    async def get_current_progress(
        self,
        user_id: str,
        *,
        at: datetime | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> rows.UserProgress | None:
        """Return the learner's progress; None if the learner has no events or is deleted."""
        query = rows.select_user_progress(_or_now(at), as_of=as_of, known_at=known_at)
        return _first(await self.run(user_id, query))

    async def get_daily_stats(self, user_id: str, date: date) -> rows.DailyStats | None:
        """Return one local day; None if the learner has no events on this day."""
        return _first(await self.get_stats_range(user_id, date, date))

    async def get_stats_range(
        self,
        user_id: str,
        start_date: date,
        end_date: date,
        *,
        zero_fill: bool = False,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[rows.DailyStats]:
        """Return the local days of a range, both ends inclusive, oldest first.

        Days without events are left out; `zero_fill` adds them, unless the learner has no events.
        """
        query = rows.select_daily_stats(
            start_date, end_date, zero_fill=zero_fill, as_of=as_of, known_at=known_at
        )
        return await self.run(user_id, query)

    async def get_weekly_stats(
        self, user_id: str, start_date: date, end_date: date, *, zero_fill: bool = False
    ) -> list[rows.PeriodStats]:
        """Return the weeks whose Monday lies in the range, oldest first."""
        query = rows.select_weekly_stats(start_date, end_date, zero_fill=zero_fill)
        return await self.run(user_id, query)

    async def get_monthly_stats(
        self, user_id: str, start_date: date, end_date: date
    ) -> list[rows.PeriodStats]:
        """Return the whole calendar months whose first day lies in the range, oldest first."""
        return await self.run(user_id, rows.select_monthly_stats(start_date, end_date))

    async def get_item_stats(
        self,
        user_id: str,
        *,
        first: int,
        filter: rows.ItemFilter = rows.ItemFilter.ALL,  # noqa: A002 - the name in api.graphql
        order_by: rows.ItemOrder = rows.ItemOrder.RECENT,
        level: rows.CefrLevel | None = None,
        domain: rows.Domain | None = None,
        search: str = "",
        after: rows.ItemKey | None = None,
        at: datetime | None = None,
    ) -> Page[tuple[rows.ItemKey, rows.ItemStats]]:
        """Return at most `first` studied items after `after` whose headwords contain `search`."""
        return await self.reader.fetch_page(
            "read_models/item_stats",
            "list",
            lambda row: (
                rows.ItemKey(row["sort_key"], row["item_id"]),
                convert(row, rows.ItemStats),
            ),
            {"filter": filter, "order_by": order_by},
            user_id=user_id,
            level=level,
            domain=domain,
            search=search,
            after_item=after.item_id if after else None,
            after_key=after.rank if after else None,
            first=first,
            now=_or_now(at),
            days=1,  # the filter DUE needs only today's due items
        )

    async def get_item(
        self, user_id: str, item_id: str, *, at: datetime | None = None
    ) -> rows.ItemStats | None:
        """Return one item; None if the item is neither in the catalogue nor studied."""
        return _first(await self.run(user_id, rows.select_item(item_id, _or_now(at))))

    async def get_item_history(
        self, user_id: str, item_id: str, *, at: datetime | None = None
    ) -> rows.ItemHistory:
        """Return the item's reviews and its answers by day, both for the last 731 local days."""
        found = await self.reader.fetch(
            "read_models/item_days", "history", user_id=user_id, item_id=item_id, now=_or_now(at)
        )
        return rows.ItemHistory(
            [
                rows.ItemReview(row["at"], row["interval_days"], row["easiness_factor"])
                for row in found
                if row["at"] is not None
            ],
            [
                rows.ItemDay(row["date"], row["answers"], row["correct_answers"])
                for row in found
                if row["at"] is None
            ],
        )

    async def get_domain_stats(self, user_id: str) -> list[rows.DomainStats]:
        """Return each domain that has items in the catalogue or that the learner has studied.

        The order is R, W, L, S, UNKNOWN.
        """
        return await self.run(user_id, rows.select_domain_stats())

    async def get_level_stats(
        self, user_id: str, *, at: datetime | None = None
    ) -> list[rows.LevelStats]:
        """Return each level that has items in the catalogue or that the learner has studied.

        The easiest level comes first, UNKNOWN last.
        """
        return await self.run(user_id, rows.select_level_stats(_or_now(at)))

    async def get_streak(
        self,
        user_id: str,
        *,
        at: datetime | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> rows.Streak:
        """Return the learner's streak on today's local day; zeros if the learner has no events."""
        query = rows.select_streak(_or_now(at), as_of=as_of, known_at=known_at)
        return (await self.run(user_id, query))[0]

    async def get_due_forecast(
        self, user_id: str, days: int, *, at: datetime | None = None
    ) -> list[rows.DueDay]:
        """Return, for each of `days` local days from today, the number of items that fall due."""
        return await self.run(user_id, rows.select_due_forecast(days, _or_now(at)))

    async def get_projection_status(
        self, *, at: datetime | None = None
    ) -> list[rows.ProjectionStatus]:
        """Return the lag of each projection behind the log."""
        limits = settings.current().lag_limits()
        found = await self.reader.fetch(
            "projections/checkpoints", "status", now=_or_now(at), **limits
        )
        return [convert(dict(row), rows.ProjectionStatus) for row in found]

    async def check_lag(
        self, projection_name: str, *, at: datetime | None = None
    ) -> rows.ProjectionStatus:
        """Return one projection's lag and status; raise ProjectionError for an unknown name."""
        for status in await self.get_projection_status(at=at):
            if status.name == projection_name:
                return status
        raise ProjectionError(f"there is no projection {projection_name}")

    async def get_recorded_events(
        self,
        user_id: str,
        *,
        first: int,
        types: Sequence[str] | None = None,
        before_version: int | None = None,
    ) -> list[rows.RecordedEvent]:
        """Return the learner's newest events, at most `first`.

        With `before_version`, return only events with a lower stream version.
        """
        found = await self.reader.fetch(
            "query/audit_trail",
            "list_events",
            user_id=user_id,
            types=types,
            before=before_version,
            first=first,
        )
        return [
            rows.RecordedEvent(**dict(row) | {"event_id": str(row["event_id"])}) for row in found
        ]


def _with_key(row: Mapping[str, Any]) -> tuple[rows.ItemKey, rows.ItemStats]:
    return rows.ItemKey(row["sort_key"], row["item_id"]), convert(row, rows.ItemStats)


def _first(records: Sequence[_T]) -> _T | None:
    return records[0] if records else None


def _or_now(at: datetime | None) -> datetime:
    return at or datetime.now(UTC)
