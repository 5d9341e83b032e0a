"""The scope of a request: its deadline, its caller, and the computations that its fields share.

The scope covers all tasks that a request starts. After the deadline, no task waits for a connection
or a statement.
"""

import time
from contextvars import Context, ContextVar, Token
from typing import Any, Self

from progress.adapters.telemetry import tracing
from progress.errors import DeadlineExceeded

# The time limit of a request, counted from its arrival. A statement outside of a request has the
# same limit.
TIMEOUT_S = 10.0


class RequestScope:
    """A request's deadline on the monotonic clock, its caller, and computations about the past.

    Inside a `with` block, it is the current scope. The statements of the scope are its caller's;
    those of several callers, or of none, are the instance's ("").
    """

    __slots__ = ("_before", "caller", "computations", "deadline")

    def __init__(self, seconds: float, caller: str) -> None:
        self.deadline, self.caller = time.monotonic() + seconds, caller
        self.computations: dict[object, Any] = {}

    def __enter__(self) -> Self:
        self._before: Token[RequestScope | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)

    def remaining(self) -> float:
        """Return the seconds until the deadline; raise DeadlineExceeded if it has passed."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return seconds


_current: ContextVar[RequestScope | None] = ContextVar("_current", default=None)


def begin(seconds: float, caller: str | None = None) -> RequestScope:
    """Return a context manager whose block is a request with a deadline `seconds` from now.

    Without `caller`, it is that of the current scope.
    """
    return RequestScope(seconds, current().caller if caller is None else caller)


def current() -> RequestScope:
    """Return the current request's scope, or a new scope if there is no request."""
    return _current.get() or RequestScope(TIMEOUT_S, "")


def detached_context() -> Context:
    """Return a context without the scope and trace, for work that outlives the request."""
    context = tracing.detached_context()
    context.run(_current.set, None)
    return context
