"""Errors as the API tells them: each with its code; those of ours masked, and logged."""

import traceback
from typing import Any, Self

from graphql import GraphQLError

from progress.adapters.telemetry import logs, tracing
from progress.errors import HistoryTooLong, RequestRejected, Unavailable
from progress.query.execution import access_log


def refused(fault: GraphQLError) -> dict[str, Any]:
    """An error of a request that was not executed."""
    cause = fault.original_error
    return _coded(fault, cause.code if isinstance(cause, RequestRejected) else "BAD_USER_INPUT")


def told(fault: GraphQLError, trace: str) -> dict[str, Any]:
    """An error of an execution; `trace` is a W3C traceparent."""
    cause = fault.original_error
    if isinstance(cause, Unavailable):
        access_log.note_fault()
        with tracing.use_trace(trace):
            logs.write("WARNING", f"not answered: {cause}")
        is_long = isinstance(cause, HistoryTooLong)
        why = str(cause) if is_long else "the database does not answer: try again"
        return _coded(fault, "UNAVAILABLE", why)
    if cause is None or isinstance(cause, (GraphQLError, RequestRejected)):
        return refused(fault)
    access_log.note_fault()
    stack = "".join(traceback.format_exception(cause))
    with tracing.use_trace(trace):
        logs.write("ERROR", f"not answered: {cause}", stack_trace=stack)
    trace_id = trace.split("-")[1]
    return _coded(fault, "INTERNAL", f"an error of ours, logged as {trace_id}", traceId=trace_id)


class Unforeseen:
    """Ends whatever goes wrong inside the block; `told` is then the error that the API tells."""

    def __init__(self, trace: str) -> None:
        self._trace = trace
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, fault: BaseException | None, __: object) -> bool:
        if not isinstance(fault, Exception):
            return False
        self.told = told(GraphQLError("", original_error=fault), self._trace)
        return True


def _coded(
    fault: GraphQLError, code: str, message: str | None = None, **more: str
) -> dict[str, Any]:
    coded: dict[str, Any] = {**fault.formatted, "extensions": {"code": code, **more}}
    if message is not None:
        coded["message"] = message
    return coded
