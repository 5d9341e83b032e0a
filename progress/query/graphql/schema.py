"""The questions of the query API: each finds its learner, checks its arguments, reads its rows."""

from datetime import date, datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID, UNSET
from strawberry.schema.config import StrawberryConfig

from progress.query.graphql import administration, arguments, pagination, types
from progress.query.graphql.context import Info, answers
from progress.query.graphql.mutations import Mutation
from progress.query.graphql.subscriptions import Subscription
from progress.query.read_models import queries, rows

From = Annotated[date, strawberry.argument(name="from")]


@strawberry.type
class Query:
    @answers(
        types.UserProgress | None,
        "The learner's standing. userId defaults to the caller; "
        "another learner's needs a role that may read it.",
    )
    async def user_progress(
        self,
        info: Info,
        user_id: ID | None = UNSET,
        as_of: datetime | None = UNSET,
        known_at: datetime | None = UNSET,
    ) -> rows.UserProgress | None:
        return await queries.get_current_progress(
            info.context.learner(user_id),
            at=info.context.at,
            as_of=as_of or None,
            known_at=known_at or None,
        )

    @answers(
        list[types.DailyStats],
        "The rows that exist in the range, oldest first; "
        "with zeroFill, one for every day. At most 731 days.",
    )
    async def daily_stats(
        self,
        info: Info,
        *,
        user_id: ID | None = UNSET,
        from_: From,
        to: date,
        zero_fill: bool | None = False,
        as_of: datetime | None = UNSET,
        known_at: datetime | None = UNSET,
    ) -> list[rows.DailyStats]:
        learner = info.context.learner(user_id)
        arguments.check_range(from_, to)
        return await queries.get_stats_range(
            learner,
            from_,
            to,
            zero_fill=bool(zero_fill),
            as_of=as_of or None,
            known_at=known_at or None,
        )

    @answers(
        list[types.PeriodStats],
        "ISO weeks by their Monday, oldest first.",
    )
    async def weekly_stats(
        self,
        info: Info,
        *,
        user_id: ID | None = UNSET,
        from_: From,
        to: date,
        zero_fill: bool | None = False,
    ) -> list[rows.PeriodStats]:
        learner = info.context.learner(user_id)
        arguments.check_range(from_, to)
        return await queries.get_weekly_stats(learner, from_, to, zero_fill=bool(zero_fill))

    @answers(list[types.PeriodStats], "Computed when asked.")
    async def monthly_stats(
        self, info: Info, *, user_id: ID | None = UNSET, from_: From, to: date
    ) -> list[rows.PeriodStats]:
        learner = info.context.learner(user_id)
        arguments.check_range(from_, to)
        return await queries.get_monthly_stats(learner, from_, to)

    @answers(types.ItemStatsConnection)
    async def item_stats(
        self,
        info: Info,
        *,
        user_id: ID | None = UNSET,
        filter: rows.ItemFilter | None = rows.ItemFilter.ALL,  # noqa: A002 - the contract's word
        order_by: rows.ItemOrder | None = rows.ItemOrder.RECENT,
        level: rows.CefrLevel | None = UNSET,
        domain: rows.Domain | None = UNSET,
        first: int | None = 50,
        after: str | None = UNSET,
    ) -> pagination.Page:
        learner = info.context.learner(user_id)
        order = order_by or rows.ItemOrder.RECENT
        found = await queries.get_item_stats(
            learner,
            filter=filter or rows.ItemFilter.ALL,
            order_by=order,
            level=level or None,
            domain=domain or None,
            first=arguments.page_size(first),
            after=pagination.item_key(_given(after), order),
            at=info.context.at,
        )
        entries = ((pagination.item_cursor(order, key), item) for key, item in found.items)
        return pagination.page(entries, has_next=found.has_next, total=found.total_count)

    @answers(types.ItemStats | None)
    async def item(
        self, info: Info, *, user_id: ID | None = UNSET, item_id: ID
    ) -> rows.ItemStats | None:
        learner = info.context.learner(user_id)
        return await queries.get_item(learner, arguments.identity("itemId", item_id))

    @answers(list[types.DomainStats])
    async def domain_stats(self, info: Info, user_id: ID | None = UNSET) -> list[rows.DomainStats]:
        return await queries.get_domain_stats(info.context.learner(user_id))

    @answers(list[types.LevelStats])
    async def level_stats(self, info: Info, user_id: ID | None = UNSET) -> list[rows.LevelStats]:
        return await queries.get_level_stats(info.context.learner(user_id))

    @answers(types.Streak)
    async def streak(
        self,
        info: Info,
        user_id: ID | None = UNSET,
        as_of: datetime | None = UNSET,
        known_at: datetime | None = UNSET,
    ) -> rows.Streak:
        return await queries.get_streak(
            info.context.learner(user_id),
            at=info.context.at,
            as_of=as_of or None,
            known_at=known_at or None,
        )

    @answers(
        list[types.DueDay],
        "Items falling due on each local day from today; "
        "what is overdue counts today. At most 366 days.",
    )
    async def due_forecast(
        self, info: Info, user_id: ID | None = UNSET, days: int | None = 14
    ) -> list[rows.DueDay]:
        learner = info.context.learner(user_id)
        ahead = arguments.forecast_days(days)
        return await queries.get_due_forecast(learner, ahead, at=info.context.at)

    @answers(
        types.EventConnection,
        "The audit trail: a learner's recorded events, newest first.",
    )
    async def events(
        self,
        info: Info,
        user_id: ID | None = UNSET,
        types: list[str] | None = UNSET,
        first: int | None = 50,
        after: str | None = UNSET,
    ) -> pagination.Page:
        learner = info.context.learner(user_id)
        size = arguments.page_size(first)
        found = await queries.get_recorded_events(
            learner,
            first=size + 1,
            types=arguments.event_types(types if isinstance(types, list) else None),
            before_version=pagination.number(_given(after)),
        )
        entries = (
            (pagination.number_cursor(event.stream_version), event) for event in found[:size]
        )
        return pagination.page(entries, has_next=len(found) > size)

    @answers(list[types.ProjectionStatus])
    async def projection_status(self, info: Info) -> list[rows.ProjectionStatus]:
        return await queries.get_projection_status(at=info.context.at)

    dead_letters = answers(types.DeadLetterConnection, "Administrators only.")(
        administration.dead_letters
    )
    operation = answers(types.Operation | None, "Administrators, and the learner who started it.")(
        administration.operation
    )
    operations = answers(types.OperationConnection, "Administrators only.")(
        administration.all_operations
    )


def _given(text: Any) -> str | None:
    return text if isinstance(text, str) else None


SCHEMA = strawberry.Schema(
    Query,
    Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=types.SCALARS, default_resolver=types.read),
)
