"""Execution of a GraphQL request: from the document to the data (as JSON), the errors and the log.

graphql-core runs the operation: it collects the fields, coerces their arguments, and propagates
errors and nulls. Only the value of a field that can be answered alone comes from elsewhere: from
the cache, or for a field with SQL from one SELECT of the requested columns. Such a value is a
fragment of JSON, which orjson inserts into the response. If it cannot be computed, graphql-core
runs the field's resolver, so that error messages come from there. If the database did not respond,
the resolver is not run.

Each error has a code. Internal errors are masked and logged under the request's trace.
"""

import functools
import time
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from graphql import ExecutionResult, FieldNode, GraphQLError, OperationType

from progress.adapters.telemetry import logs, tracing
from progress.auth import Caller
from progress.errors import (
    Forbidden,
    HistoryTooLong,
    PubSubUnavailable,
    QueryTooComplex,
    RequestRejected,
    StatementTimedOut,
    StorageUnavailable,
    Unavailable,
)
from progress.query.cache.responses import ResponseCache, Result
from progress.query.cache.versions import Position
from progress.query.execution import documents, fields, traces
from progress.query.execution.documents import Prepared, Rejected
from progress.query.execution.executor import Answers
from progress.query.execution.fields import RequestedField
from progress.query.graphql.arguments import format_datetime
from progress.query.graphql.context import Context

# These fields are not of the read models. They answer while a table of the read models is locked.
_APART = ("__typename", "blockingSessions")
_NO_STREAM = "expected a query: subscriptions need /graphql/stream or a WebSocket at /graphql"


class GraphQLRequest(msgspec.Struct, frozen=True, rename="camel"):
    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    is_counted: bool = False  # whether the rate limit has already counted the request


class GraphQLResponse(msgspec.Struct, frozen=True):
    """The parts of a GraphQL response; `data` is JSON, or None if the response omits this member.

    `executed` is false if the request was rejected before execution.
    """

    data: bytes | None
    errors: list[dict[str, Any]] = []
    extensions: dict[str, Any] = {}
    executed: bool = True

    @property
    def has_data(self) -> bool:
        return self.data not in (None, b"null")


class RequestLog:
    """The log line of one request, and the W3C traceparent under which errors are logged."""

    __slots__ = ("_started_at", "cache_result", "caller", "has_failed", "operation", "traceparent")

    def __init__(self, operation: str, traceparent: str) -> None:
        self._started_at = time.perf_counter()
        self.operation = operation
        self.traceparent = traceparent
        self.cache_result: Result | None = None  # None if no field is cacheable.
        self.has_failed = False  # True after an error that the caller did not cause.
        self.caller: str | None = None  # of a mutation, unless it is a learner's own

    def note_mutation(self, caller: Caller) -> None:
        """Log the request as a mutation, unless as a stream; name who is no learner."""
        self.caller = None if caller.role == "learner" else caller.user_id
        if self.operation != "stream":
            self.operation = "mutation"

    def write(self, status: int) -> None:
        """Write the line; `outcome` is "error" after an error that the caller did not cause."""
        latency_ms = round(1_000 * (time.perf_counter() - self._started_at), 3)
        self.has_failed = self.has_failed or status >= 500
        logs.write(
            "INFO", "answered", operation=self.operation, latency_ms=latency_ms, caller=self.caller,
            cache_result=self.cache_result, outcome="error" if self.has_failed else "ok",
        )  # fmt: skip


async def run(
    request: GraphQLRequest,
    context: Context,
    *,
    cache: ResponseCache,
    introspection: bool,
    log: RequestLog,
    bypass: bool = False,
) -> GraphQLResponse:
    """Execute a request. Each error has a code; internal errors are masked and logged.

    With `bypass`, no cached result is used. Raise RateLimited if the caller exceeds the rate limit,
    and Unavailable if the response would have no data because a dependency does not respond.
    """
    document = documents.read(request.query, introspection=introspection)
    kind = document.kind(request.operation_name)
    if kind is OperationType.MUTATION and not document.errors:
        log.note_mutation(context.caller)
    try:
        prepared = document.prepare(request.variables, request.operation_name)
        if kind is OperationType.SUBSCRIPTION and context.live_queries is None:
            raise Rejected.of([GraphQLError(_NO_STREAM)])
    except Rejected as rejected:
        requests = 1 - request.is_counted
        await cache.lookup(context.caller.user_id, (), at=context.at, requests=requests)
        return reject(rejected)
    plan, asked = prepared.plan, fields.request(prepared.coerced, context.caller)
    # Each field of a mutation counts as a request.
    requests = (len(plan) or 1) if kind is OperationType.MUTATION else 1
    keys = [field.cache_key for field in asked if field.cache_key]
    is_apart = not asked and bool(plan) and all(field.name in _APART for field in plan)
    projected_to = None if is_apart else await cache.versions.projected_to()
    lookup = await cache.lookup(
        context.caller.user_id,
        keys,
        at=context.at,
        requests=requests - request.is_counted,
        bypass=bypass,
    )
    if prepared.depends_on_groups and (refusal := await _weigh_groups(prepared, context)):
        return refusal
    if not await _may_read(asked, context):
        asked = []  # the resolvers report Forbidden
    answers = Answers(asked, context, cache, lookup)
    result = await prepared.executor.copy_for(context).run(answers)
    if result.errors and not any(
        field.is_answer and fields.value_at(result, field.place) is not None for field in plan
    ):
        _raise_if_unavailable(result.errors)
    response = to_response(result, log)
    if response.has_data:
        await traces.write(prepared.coerced, context, result)
    if keys and not response.errors:
        log.cache_result = lookup.result
    if is_apart:
        return response
    # HIT if every cacheable field was cached.
    is_hit = not response.errors and lookup.result == "hit"
    extensions = _extensions(projected_to, is_hit=is_hit)
    return GraphQLResponse(response.data, response.errors, extensions, response.executed)


def reject(rejected: Rejected) -> GraphQLResponse:
    return GraphQLResponse(None, rejected.errors, executed=False)


async def _weigh_groups(prepared: Prepared, context: Context) -> GraphQLResponse | None:
    """Return the response if the operation costs too much with groups of this size."""
    of_tasks = any(each.planned.tasks for each in prepared.coerced)
    shares = await context.find_shares(fields.groups_of(prepared.coerced), of_tasks=of_tasks)
    try:
        fields.check_cost(prepared.coerced, shares)
    except QueryTooComplex as error:
        return reject(Rejected.of([GraphQLError(str(error), original_error=error)]))
    return None


async def _may_read(asked: Sequence[RequestedField], context: Context) -> bool:
    """Return whether the caller may read the data of each field's learner.

    Only a teacher's groups must be looked up. Cached fields are checked, too.
    """
    try:
        for learner in {f.user_id for f in asked if context.caller.needs_membership(f.user_id)}:
            await context.check_learner(learner)
    except Forbidden:
        return False
    return True


@functools.lru_cache(maxsize=4)  # four are enough: the position changes only once a second
def _extensions(position: Position | None, *, is_hit: bool) -> dict[str, Any]:
    """Return whether the cache was hit, and the position that the projections have reached."""
    extensions: dict[str, Any] = {"cache": "HIT" if is_hit else "MISS"}
    if position is not None:
        time = position.recorded_at and format_datetime(position.recorded_at)
        extensions["projectedTo"] = {"position": str(position.position), "time": time}  # 64 bits
    return extensions


def to_response(result: ExecutionResult, log: RequestLog) -> GraphQLResponse:
    """Return the result as a response with formatted errors; `data` is null after FORBIDDEN."""
    errors = result.errors
    if not errors:
        return GraphQLResponse(orjson.dumps(result.data))
    _log_timeouts(errors)
    if all(error.path is None for error in errors):  # a condition is null
        return reject(Rejected.of(errors))
    is_forbidden = any(isinstance(error.original_error, Forbidden) for error in errors)
    data = orjson.dumps(None if is_forbidden else result.data)
    return GraphQLResponse(data, [format_error(error, log) for error in errors])


def format_error(error: GraphQLError, log: RequestLog) -> dict[str, Any]:
    """Format an error raised during execution; log the error unless the caller caused it."""
    cause = error.original_error
    if isinstance(cause, Unavailable) and not isinstance(cause, RequestRejected):
        log.has_failed = True
        with tracing.use_trace(log.traceparent):
            logs.write("WARNING", f"not answered: {cause}")
        return documents.with_code(error, "UNAVAILABLE", _describe(cause))
    if cause is None or isinstance(cause, (GraphQLError, RequestRejected)):
        return documents.format_rejection(error)
    log.has_failed = True
    stack = "".join(traceback.format_exception(cause))
    with tracing.use_trace(log.traceparent):
        logs.write("ERROR", f"not answered: {cause}", stack_trace=stack)
    trace_id = log.traceparent.split("-")[1]
    return documents.with_code(
        error, "INTERNAL", f"an internal error, logged as {trace_id}", traceId=trace_id
    )


def _raise_if_unavailable(errors: Sequence[GraphQLError]) -> None:
    """Raise the first cause if every cause is Unavailable and none is HistoryTooLong."""
    causes = [error.original_error for error in errors]
    transient = [cause for cause in causes if isinstance(cause, Unavailable)]
    if (
        transient
        and len(transient) == len(causes)
        and not any(isinstance(c, HistoryTooLong) for c in transient)
    ):
        _log_timeouts(errors)
        raise transient[0]


def _log_timeouts(errors: Sequence[GraphQLError]) -> None:
    """Log the names of the fields whose statements ran into their limit."""
    slow = [error for error in errors if isinstance(error.original_error, StatementTimedOut)]
    nodes = [node for error in slow for node in error.nodes or ()]
    names = {node.name.value for node in nodes if isinstance(node, FieldNode)}
    if names:
        logs.write("WARNING", f"a statement ran into its time limit: {', '.join(sorted(names))}")


def _describe(outage: Unavailable) -> str:
    if isinstance(outage, HistoryTooLong):
        return str(outage)
    if isinstance(outage, PubSubUnavailable):
        return "Pub/Sub does not accept the event: try again"
    dependency = "storage" if isinstance(outage, StorageUnavailable) else "database"
    return f"the {dependency} does not respond: try again"
