"""The subscriptions: each checks the caller's role, and follows one learner, group or operation."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import strawberry
from strawberry import ID, UNSET
from strawberry.types.nodes import SelectedField, Selection

from progress.errors import NotFound, QueryTooComplex
from progress.operations.records import Operation
from progress.query.graphql import types
from progress.query.graphql.context import Info
from progress.query.graphql.whose import Whose
from progress.query.live.hub import Source
from progress.query.live.sources import Groups, Learners, MilestoneMarks, Operations
from progress.query.read_models import groups, rows
from progress.query.read_models.reader import Reader

LEARNER, OPERATION, MILESTONE, GROUP = "learner", "operation", "milestone", "group"  # the topics


def build_sources(reader: Reader) -> dict[str, Source]:
    """Return the readers of states, by the topic of live queries."""
    return {
        LEARNER: Learners(reader),
        OPERATION: Operations(reader),
        MILESTONE: MilestoneMarks(reader),
        GROUP: Groups(reader),
    }


def _subscription(type_: object, whose: Whose) -> Callable[[Any], Any]:
    """Declare a subscription whose method yields records with the fields of this GraphQL type."""
    field: Callable[[Any], Any] = strawberry.subscription(
        graphql_type=type_, metadata={"whose": whose}
    )
    return field


_MAX_ROWS = 1_000  # in thousands, as in a query


def _count_rows(node: Selection) -> int:
    """Return how many thousand rows a selection of a group reads for each result."""
    own = types.ROWS_OF_GROUP.get(node.name, 0) if isinstance(node, SelectedField) else 0
    return own + sum(map(_count_rows, node.selections))


@strawberry.type
class Subscription:
    @_subscription(types.UserProgress | None, Whose.LEARNER)
    async def progress_updated(
        self, info: Info, user_id: ID | None = UNSET
    ) -> AsyncIterator[rows.UserProgress | None]:
        learner = await info.context.resolve_learner(user_id)
        return info.context.subscribe_to_learner(LEARNER, learner, lambda state: state.progress)

    @_subscription(types.Streak, Whose.LEARNER)
    async def streak_updated(
        self, info: Info, user_id: ID | None = UNSET
    ) -> AsyncIterator[rows.Streak]:
        learner = await info.context.resolve_learner(user_id)
        return info.context.subscribe_to_learner(LEARNER, learner, lambda state: state.streak)

    @_subscription(types.Operation, Whose.NOBODY)
    async def operation_updated(self, info: Info, id: ID) -> AsyncIterator[Operation]:  # noqa: A002 - of the contract
        operation = await info.context.find_operation(id)
        if operation is None:
            raise NotFound("there is no such operation, or you may not see it")
        return info.context.subscribe(OPERATION, operation.id, lambda state: state.operation)

    @_subscription(types.Milestone, Whose.LEARNER)
    async def milestone_reached(
        self, info: Info, user_id: ID | None = UNSET, after: ID | None = UNSET
    ) -> AsyncIterator[rows.Milestone]:
        learner = await info.context.resolve_learner(user_id)
        since = None if after is UNSET else after
        return await info.context.follow_milestones(MILESTONE, learner, since)

    @_subscription(types.Group | None, Whose.NOBODY)
    async def group_updated(self, info: Info, group_id: ID) -> AsyncIterator[groups.Group | None]:
        group = info.context.authorize_group(group_id)
        rows_read = types.GROUP_ROWS + sum(map(_count_rows, info.selected_fields))
        if rows_read > _MAX_ROWS:
            raise QueryTooComplex(
                f"rows to read, in thousands: expected at most {_MAX_ROWS} - found {rows_read}"
            )
        return info.context.subscribe(GROUP, group, lambda state: state.group)
