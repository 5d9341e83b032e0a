"""Who asks, and when: what every field of a request is told."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import strawberry

from progress.errors import BadInput, Forbidden
from progress.query.auth import Caller
from progress.query.graphql import arguments
from progress.query.live.hub import LiveQueries
from progress.query.live.topics import Subscription

_T = TypeVar("_T")


class Context(msgspec.Struct, frozen=True):
    """Who asks, and when: one moment for all that a request asks."""

    caller: Caller
    at: datetime
    live_queries: LiveQueries | None = None  # where there can be subscriptions

    def learner(self, asked: str | None) -> str:
        """The learner to answer about; Forbidden where the caller may not."""
        return self.caller.learner(
            arguments.identity("userId", asked) if isinstance(asked, str) else None
        )

    def check_admin(self) -> None:
        """Forbidden for whoever is no administrator."""
        if not self.is_admin:
            raise Forbidden("administrators only")

    @property
    def is_admin(self) -> bool:
        return self.caller.role == "admin"

    def subscribe(self, topic: str, id_: str, select: Callable[[Any], _T]) -> Subscription[_T]:
        """Subscribe to the selected part of a state, now and after every change."""
        if self.live_queries is None:
            raise BadInput("subscriptions are for /graphql/stream")
        return self.live_queries.subscribe(topic, id_, select)


Info = strawberry.Info[Context, None]


def answers(shape: object, description: str | None = None) -> Callable[[Any], Any]:
    """A field of that type; what its method returns has the type's fields, and is of another."""
    field: Callable[[Any], Any] = strawberry.field(
        graphql_type=shape,
        description=description,
    )
    return field
