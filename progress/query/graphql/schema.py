"""The schema: the query fields in the contract's order, the mutations and the subscriptions."""

import strawberry
from strawberry import ID, UNSET
from strawberry.schema.config import StrawberryConfig

from progress.query.cache.policy import CachePolicy
from progress.query.graphql import (
    administration,
    arguments,
    descriptions,
    group_fields,
    learner_fields,
    pagination,
    scalars,
    types,
)
from progress.query.graphql.context import Info
from progress.query.graphql.fields import Cost, declare
from progress.query.graphql.mutations import Mutation
from progress.query.graphql.subscriptions import Subscription
from progress.query.read_models import log_records, rows


@strawberry.type
class Query:
    user_progress = learner_fields.user_progress
    daily_stats = learner_fields.daily_stats
    weekly_stats = learner_fields.weekly_stats
    monthly_stats = learner_fields.monthly_stats

    @declare(
        types.ItemStatsConnection,
        "search: part of the headword; ASCII letters in any case.",
        # `catalogue`, because the catalogue contains headwords, levels and domains. `except_for`,
        # because the set of DUE items depends on the current time.
        cache=CachePolicy(
            10, catalogue=True, except_for=("filter", "DUE"), hourly="estimatedRecall"
        ),
        cost=Cost(45, rows_with={"level": 55, "domain": 55, "search": 55}),
    )
    async def item_stats(
        self,
        info: Info,
        *,
        user_id: ID | None = UNSET,
        filter: rows.ItemFilter | None = rows.ItemFilter.ALL,  # noqa: A002 - the contract's word
        order_by: rows.ItemOrder | None = rows.ItemOrder.RECENT,
        level: rows.CefrLevel | None = UNSET,
        domain: rows.Domain | None = UNSET,
        search: str | None = UNSET,
        first: int | None = 50,
        after: str | None = UNSET,
    ) -> pagination.Page:
        learner = await info.context.resolve_learner(user_id)
        order = order_by or rows.ItemOrder.RECENT
        page = await info.context.queries.get_item_stats(
            learner,
            filter=filter or rows.ItemFilter.ALL,
            order_by=order,
            level=level or None,
            domain=domain or None,
            search=arguments.parse_search(pagination.text_or_none(search)),
            first=arguments.parse_page_size(first),
            after=pagination.decode_item_cursor(pagination.text_or_none(after), order),
            at=info.context.at,
        )
        entries = ((pagination.encode_item_cursor(order, key), item) for key, item in page.items)
        return pagination.build_page(entries, has_next=page.has_next, total=page.total_count)

    item = learner_fields.item
    domain_stats = learner_fields.domain_stats
    level_stats = learner_fields.level_stats
    streak = learner_fields.streak
    due_forecast = learner_fields.due_forecast
    retention = learner_fields.retention
    hourly_stats = learner_fields.hourly_stats
    workload = learner_fields.workload
    rest_days = learner_fields.rest_days
    goal = learner_fields.goal

    @declare(
        types.ItemHistory,
        "Reviews and days of answers of one item, newest first, "
        "at most 731 days back and 1,000 reviews.",
        cache=CachePolicy(15, clock=True),
        cost=Cost(4, entries=1_000),
    )
    async def item_history(
        self, info: Info, *, user_id: ID | None = UNSET, item_id: ID
    ) -> rows.ItemHistory:
        learner = await info.context.resolve_learner(user_id)
        item = arguments.parse_id("itemId", item_id)
        return await info.context.queries.get_item_history(learner, item, at=info.context.at)

    group = group_fields.group
    learners = group_fields.learners
    item_difficulty = group_fields.item_difficulty

    @declare(
        types.EventConnection,
        "The audit trail: a learner's recorded events, newest first.",
        cost=Cost(rows_with={"types": 200}),
    )
    async def events(
        self,
        info: Info,
        user_id: ID | None = UNSET,
        types: list[str] | None = UNSET,
        first: int | None = 50,
        after: str | None = UNSET,
    ) -> pagination.Page:
        learner = await info.context.resolve_learner(user_id, audit=True)
        size = arguments.parse_page_size(first)
        events = await info.context.queries.get_recorded_events(
            learner,
            first=size + 1,
            types=arguments.parse_event_types(types if isinstance(types, list) else None),
            before_version=pagination.decode_number_cursor(pagination.text_or_none(after)),
        )
        entries = (
            (pagination.encode_number_cursor(event.stream_version), event)
            for event in events[:size]
        )
        return pagination.build_page(entries, has_next=len(events) > size)

    @declare(list[types.ProjectionStatus], cost=Cost(30))
    async def projection_status(self, info: Info) -> list[log_records.ProjectionStatus]:
        return await info.context.queries.get_projection_status(at=info.context.at)

    dead_letters = administration.dead_letters
    operation = administration.operation
    operations = administration.operations
    undelivered = administration.undelivered


SCHEMA = strawberry.Schema(
    Query,
    Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=scalars.SCALARS, default_resolver=types.read_field),
)
# Strawberry has no public name for it, and SCHEMA.execute() would parse every document again.
GRAPHQL = SCHEMA._schema  # noqa: SLF001
descriptions.describe(GRAPHQL)
