"""A request's account: what its one line in the log says, gathered on its way."""

import time
from contextvars import ContextVar

from progress.adapters.telemetry import logs
from progress.query.cache.cache import Result


class Account:
    """Of one request."""

    __slots__ = ("_began", "cache_result", "is_our_fault", "operation")

    def __init__(self, operation: str) -> None:
        self._began = time.perf_counter()
        self.operation = operation
        self.cache_result: Result | None = None  # where nothing could have been kept
        self.is_our_fault = False

    def close(self, status: int) -> None:
        """Write the line. A request that was refused is answered well."""
        latency = round(1_000 * (time.perf_counter() - self._began), 3)
        self.is_our_fault = self.is_our_fault or status >= 500
        logs.write(
            "INFO", "answered", operation=self.operation, latency_ms=latency,
            cache_result=self.cache_result, outcome="error" if self.is_our_fault else "ok",
        )  # fmt: skip


_present: ContextVar[Account | None] = ContextVar("_present", default=None)


def opened(operation: str) -> Account:
    """The account of the request that this task answers."""
    account = Account(operation)
    _present.set(account)
    return account


def note_kind(operation: str) -> None:
    """What is asked is of that kind; a stream stays one."""
    account = _present.get()
    if account is not None and account.operation != "stream":
        account.operation = operation


def note_cache(result: Result) -> None:
    """What the cache had of it."""
    account = _present.get()
    if account is not None:
        account.cache_result = result


def note_fault() -> None:
    """It cannot be answered, and that is no fault of the caller's."""
    account = _present.get()
    if account is not None:
        account.is_our_fault = True
