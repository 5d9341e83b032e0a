"""The subscriptions: each finds its subject and subscribes to it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import strawberry
from strawberry import ID, UNSET

from progress.errors import NotFound
from progress.operations.records import Operation
from progress.query.graphql import administration, types
from progress.query.graphql.context import Info
from progress.query.live.sources import Learners, Operations
from progress.query.live.topics import Source
from progress.query.read_models import rows

LEARNER, OPERATION = "learner", "operation"  # topics


def sources() -> dict[str, Source]:
    """Return the source of each topic."""
    return {LEARNER: Learners(), OPERATION: Operations()}


def _tells(shape: object, description: str | None = None) -> Callable[[Any], Any]:
    """A subscription of that type; what its method tells has the type's fields."""
    field: Callable[[Any], Any] = strawberry.subscription(
        graphql_type=shape, description=description
    )
    return field


@strawberry.type
class Subscription:
    @_tells(
        types.UserProgress | None,
        "The learner's standing, now and after every change of it.",
    )
    async def progress_updated(
        self, info: Info, user_id: ID | None = UNSET
    ) -> AsyncIterator[rows.UserProgress | None]:
        learner = info.context.learner(user_id)
        return info.context.subscribe(LEARNER, learner, lambda state: state.progress)

    @_tells(types.Streak)
    async def streak_updated(
        self, info: Info, user_id: ID | None = UNSET
    ) -> AsyncIterator[rows.Streak]:
        learner = info.context.learner(user_id)
        return info.context.subscribe(LEARNER, learner, lambda state: state.streak)

    @_tells(types.Operation)
    async def operation_updated(self, info: Info, id: ID) -> AsyncIterator[Operation]:  # noqa: A002 - the contract's word
        found = await administration.operation(info, id)
        if found is None:
            raise NotFound("there is no such operation that you may see")
        return info.context.subscribe(OPERATION, found.id, lambda state: state.operation)
