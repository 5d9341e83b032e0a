"""The log line of a GraphQL request, and its errors.

Each error has a code. Internal errors are masked and logged under the request's trace.
"""

import time
import traceback
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from progress.adapters.telemetry import logs, tracing
from progress.errors import (
    HistoryTooLong,
    PubSubUnavailable,
    RequestRejected,
    StorageUnavailable,
    Unavailable,
)
from progress.query.cache import Result


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


def format_rejection(error: GraphQLError) -> dict[str, Any]:
    """Format an error that the caller caused, before or during execution."""
    cause = error.original_error
    return _with_code(error, cause.code if isinstance(cause, RequestRejected) else "BAD_USER_INPUT")


def format_error(error: GraphQLError, log: RequestLog) -> dict[str, Any]:
    """Format an error raised during execution; log the error unless the caller caused it."""
    cause = error.original_error
    if isinstance(cause, Unavailable):
        log.has_failed = True
        with tracing.use_trace(log.traceparent):
            logs.write("WARNING", f"not answered: {cause}")
        return _with_code(error, "UNAVAILABLE", _describe(cause))
    if cause is None or isinstance(cause, (GraphQLError, RequestRejected)):
        return format_rejection(error)
    log.has_failed = True
    stack = "".join(traceback.format_exception(cause))
    with tracing.use_trace(log.traceparent):
        logs.write("ERROR", f"not answered: {cause}", stack_trace=stack)
    trace_id = log.traceparent.split("-")[1]
    return _with_code(
        error, "INTERNAL", f"an internal error, logged as {trace_id}", traceId=trace_id
    )


def raise_if_unavailable(errors: Sequence[GraphQLError]) -> None:
    """Raise the first cause if every cause is Unavailable and none is HistoryTooLong."""
    causes = [error.original_error for error in errors]
    transient = [cause for cause in causes if isinstance(cause, Unavailable)]
    if (
        transient
        and len(transient) == len(causes)
        and not any(isinstance(c, HistoryTooLong) for c in transient)
    ):
        raise transient[0]


def _describe(outage: Unavailable) -> str:
    if isinstance(outage, HistoryTooLong):
        return str(outage)
    if isinstance(outage, PubSubUnavailable):
        return "Pub/Sub does not accept the event: try again"
    dependency = "storage" if isinstance(outage, StorageUnavailable) else "database"
    return f"the {dependency} does not respond: try again"


def _with_code(
    error: GraphQLError, code: str, message: str | None = None, **extensions: str
) -> dict[str, Any]:
    formatted: dict[str, Any] = {**error.formatted, "extensions": {"code": code, **extensions}}
    if message is not None:
        formatted["message"] = message
    return formatted
