"""The scope of a request: the deadline by which it is answered, and the folds that its parts share.

All tasks that a request starts are within its scope. Whatever they wait for, a free connection or
a statement, they wait no longer than until the deadline.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import Context, ContextVar
from typing import Any

from progress.adapters.telemetry import tracing
from progress.errors import Unavailable

TIMEOUT_S = 10.0  # of a query from its arrival, and of a question outside of a request


class RequestScope:
    """A deadline on the monotonic clock, and the folds by learner and moments (`as_of`)."""

    __slots__ = ("ends_at", "folds")

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds
        self.folds: dict[object, Any] = {}

    def left(self) -> float:
        """Seconds until the deadline; Unavailable where there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise Unavailable("the time of the request is over")
        return left


_current: ContextVar[RequestScope | None] = ContextVar("_current", default=None)


@contextlib.contextmanager
def begin(seconds: float) -> Iterator[RequestScope]:
    """Make the block a request that is answered within so many seconds."""
    scope = RequestScope(seconds)
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def current() -> RequestScope:
    """The present request's; outside of one, a new one for the question that is asked now."""
    return _current.get() or RequestScope(TIMEOUT_S)


def apart() -> Context:
    """A context for work that goes on after the request, and outside of its trace."""
    context = tracing.apart()
    context.run(_current.set, None)
    return context
