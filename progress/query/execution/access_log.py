"""The access log: one line for each GraphQL request."""

import time

from progress.adapters.telemetry import logs
from progress.query.cache.cache import Result


class RequestLog:
    """The log line of one request, and the W3C traceparent under which errors are logged."""

    __slots__ = ("_started_at", "cache_result", "has_failed", "operation", "traceparent")

    def __init__(self, operation: str, traceparent: str) -> None:
        self._started_at = time.perf_counter()
        self.operation = operation
        self.traceparent = traceparent
        self.cache_result: Result | None = None  # None if no field is cacheable.
        self.has_failed = False  # True after an error that the caller did not cause.

    def note_mutation(self) -> None:
        """Log the request as a mutation, unless it is logged as a stream."""
        if self.operation != "stream":
            self.operation = "mutation"

    def write(self, status: int) -> None:
        """Write the line; `outcome` is "error" after an error that the caller did not cause."""
        latency_ms = round(1_000 * (time.perf_counter() - self._started_at), 3)
        self.has_failed = self.has_failed or status >= 500
        logs.write(
            "INFO", "answered", operation=self.operation, latency_ms=latency_ms,
            cache_result=self.cache_result, outcome="error" if self.has_failed else "ok",
        )  # fmt: skip
