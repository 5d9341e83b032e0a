"""Execution of a GraphQL request: from the document to the data (as JSON), the errors and the log.

Each root field of a query is resolved separately: from the cache, by the compiled path or by the
executor. The executor is graphql-core's `execute` with Strawberry's schema. It runs every request
that cannot be split into root fields. If the compiled path or a computation for the cache fails,
the executor runs the root field again, so that error messages come from the executor. If a root
field failed because the database did not respond, the executor does not run the field again.

Each error has a code. Internal errors are masked and logged under the request's trace.
"""

import asyncio
import functools
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationType,
    execute,
    is_non_null_type,
    located_error,
)

from progress.adapters.telemetry import logs, tracing
from progress.errors import (
    Forbidden,
    HistoryTooLong,
    PubSubUnavailable,
    QueryTooComplex,
    RequestRejected,
    StatementFailed,
    StorageUnavailable,
    Unavailable,
)
from progress.query.cache import (
    CacheKey,
    ComputedEntry,
    Lookup,
    ProjectedTo,
    ResponseCache,
    Result,
    cache_key,
)
from progress.query.execution import documents, limits
from progress.query.execution.compiled import QUERY, InvalidRows
from progress.query.execution.documents import Document, Operation, PlannedField, Unplanned
from progress.query.graphql.arguments import format_datetime
from progress.query.graphql.context import Context
from progress.query.graphql.schema import GRAPHQL
from progress.query.read_models import as_of

Values = Mapping[str, Any]
Outcome = bytes | ExecutionResult


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


class RootField(msgspec.Struct, frozen=True):
    """A planned field with its arguments; `cache_key` is None if the field is not cacheable."""

    planned: PlannedField
    arguments: Values
    user_id: str
    cache_key: CacheKey | None

    @property
    def is_compiled(self) -> bool:
        """Whether the compiled path runs the field; the executor handles the past."""
        is_present = self.arguments.get("asOf") is None and self.arguments.get("knownAt") is None
        return is_present and self.planned.compiled is not None


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


class _ExecutorFailed(Exception):
    """The executor reported errors instead of a result that can be cached."""


def is_query(request: GraphQLRequest, *, introspection: bool) -> bool:
    """Return True for a query, and for an operation that is missing or cannot be parsed."""
    document = documents.read(request.query, introspection=introspection)
    return document.is_query(request.operation_name)


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
    plan = _plan(document, request, context, log)
    fields = plan if isinstance(plan, list) else None
    keys = [field.cache_key for field in fields or () if field.cache_key]
    operation = document.operation(request.operation_name)
    requests = operation.count_requests(request.variables) if operation else 1
    lookup = await cache.lookup(
        context.caller.user_id,
        keys,
        at=context.at,
        requests=requests - request.is_counted,
        bypass=bypass,
    )
    if isinstance(plan, GraphQLResponse):
        return plan
    if fields and not await _may_read(fields, context):
        fields = None  # the executor then reports Forbidden
    execution = QueryExecution(request, context, cache, lookup)
    response = await _respond(document, fields, execution, log)
    if keys and not response.errors:
        log.cache_result = lookup.result
    return response


def _plan(
    document: Document, request: GraphQLRequest, context: Context, log: RequestLog
) -> list[RootField] | GraphQLResponse | None:
    """Return the root fields, a rejection, or None if the executor must run the document."""
    if document.errors:
        return GraphQLResponse(None, document.errors, executed=False)
    operation = document.operation(request.operation_name)
    if operation is None:
        return None
    if operation.kind is OperationType.MUTATION:
        log.note_mutation()
    if operation.kind is OperationType.SUBSCRIPTION and context.live_queries is None:
        why = "expected a query: subscriptions need /graphql/stream or a WebSocket at /graphql"
        return _reject([GraphQLError(why)])
    try:
        return plan_fields(operation, request.variables, context)
    except QueryTooComplex as error:
        return _reject([GraphQLError(str(error), original_error=error)])


def plan_fields(
    operation: Operation, sent: Values | None, context: Context
) -> list[RootField] | None:
    """Return the root fields of a query; None if the executor must run the whole operation.

    Raise QueryTooComplex if the query would return too many fields, read too many rows or ask
    about too many moments.
    """
    if operation.kind is not OperationType.QUERY:
        return None
    try:
        variables = operation.coerce_variables(sent)
        fields = [(field, field.arguments(variables)) for field in operation.root_fields(variables)]
    except Unplanned:
        return None
    limits.check_complexity(sum(field.complexity(arguments) for field, arguments in fields))
    moments = {asked for _, arguments in fields if (asked := limits.moment_key(arguments))}
    if moments:
        as_of.check_moments(len(moments))
    limits.check_rows(
        sum(field.rows_to_read(arguments) for field, arguments in fields), len(moments)
    )
    try:
        return [_root_field(field, arguments, context) for field, arguments in fields] or None
    except (Unplanned, RequestRejected):  # the executor reports what is wrong
        return None


def _root_field(
    planned: PlannedField, arguments: dict[str, Any] | None, context: Context
) -> RootField:
    if arguments is None:
        raise Unplanned
    user_id = context.caller.authorize(arguments.pop("userId", None))
    key = cache_key(
        planned.declaration.cache, planned.field.name, user_id, arguments, planned.selection
    )
    return RootField(planned, arguments, user_id, key)


async def _may_read(fields: Sequence[RootField], context: Context) -> bool:
    """Return whether the caller may read the data of each field's learner.

    Only a teacher's groups must be looked up. Cached fields are checked, too.
    """
    try:
        for learner in {f.user_id for f in fields if context.caller.needs_membership(f.user_id)}:
            await context.check_learner(learner)
    except Forbidden:
        return False
    return True


class QueryExecution(msgspec.Struct, frozen=True):
    request: GraphQLRequest
    context: Context
    cache: ResponseCache
    lookup: Lookup

    async def run(self, fields: Sequence[RootField]) -> list[Outcome]:
        """Return the JSON of each field, or the executor's result for a field with errors."""
        cached = iter(self.lookup.entries)
        values = [next(cached) if field.cache_key else field.planned.constant for field in fields]
        if None not in values:
            return cast("list[Outcome]", values)
        runs = [self._run(field, value) for field, value in zip(fields, values, strict=True)]
        return await asyncio.gather(*runs) if len(fields) > 1 else [await runs[0]]

    async def _run(self, field: RootField, value: bytes | None) -> Outcome:
        if value is not None:
            return value
        if field.cache_key is None and not field.is_compiled:
            return await self._execute(field)
        try:
            return await self._compute_or_join(field)
        except Unavailable as error:
            return _fail(field, error)  # not run again: a second run would probably fail, too
        except (_ExecutorFailed, InvalidRows, RequestRejected, StatementFailed):
            return await self._execute(field)  # the executor reports the error

    async def _compute_or_join(self, field: RootField) -> bytes:
        # The SELECT reads the learner's version only if Redis did not have it, because reading the
        # version takes 20 % of the SELECT's time.
        versioned = (
            field.is_compiled
            and field.planned.returns_version
            and self.lookup.versions.learners.get(field.user_id) is None
        )
        compute = functools.partial(self._compute, field, versioned=versioned)
        if field.cache_key is None:
            return (await compute()).data
        return await self.cache.get_or_compute(
            self.lookup, field.cache_key, compute, returns_version=versioned
        )

    async def _compute(self, field: RootField, *, versioned: bool) -> ComputedEntry:
        if field.is_compiled and (compiled := field.planned.compiled):
            context = self.context
            return await compiled.run(
                context.queries.reader,
                field.user_id,
                field.arguments,
                context.at,
                versioned=versioned,
            )
        outcome = await self._execute(field)
        if isinstance(outcome, bytes):
            return ComputedEntry(outcome)
        raise _cause(outcome)

    async def _execute(self, field: RootField) -> Outcome:
        planned = field.planned
        result = await execute_document(planned.tree, self.request, self.context)
        if result.errors or result.data is None:
            return result
        return orjson.dumps(result.data[planned.field.key])


def _fail(root_field: RootField, cause: Exception) -> ExecutionResult:
    """Return what the executor would return if the field raised this exception."""
    field = root_field.planned.field
    error = located_error(cause, list(field.nodes), [field.key])
    is_non_null = is_non_null_type(QUERY.fields[field.name].type)
    return ExecutionResult(None if is_non_null else {field.key: None}, [error])


def _cause(result: ExecutionResult) -> Exception:
    """Return the first error that is an Unavailable; if there is none, an _ExecutorFailed."""
    causes = [error.original_error for error in result.errors or ()]
    return next((cause for cause in causes if isinstance(cause, Unavailable)), _ExecutorFailed())


async def _respond(
    document: Document,
    fields: Sequence[RootField] | None,
    execution: QueryExecution,
    log: RequestLog,
) -> GraphQLResponse:
    """Run the root fields, or without `fields` let the executor run the whole document."""
    is_constant = fields is not None and all(field.planned.constant for field in fields)
    projected_to = None if is_constant else await execution.cache.versions.projected_to()
    if fields:
        response = _merge(fields, await execution.run(fields), log)
    else:
        result = await execute_document(document.tree, execution.request, execution.context)
        if result.errors and not any(value is not None for value in (result.data or {}).values()):
            _raise_if_unavailable(result.errors)
        response = to_response(result, log)
    if is_constant:
        return response
    # HIT if every cacheable field was cached.
    is_hit = fields is not None and not response.errors and execution.lookup.result == "hit"
    extensions = _extensions(projected_to, is_hit=is_hit)
    return GraphQLResponse(response.data, response.errors, extensions, response.executed)


async def execute_document(
    tree: DocumentNode, request: GraphQLRequest, context: Context
) -> ExecutionResult:
    result = execute(
        GRAPHQL,
        tree,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
    )
    return result if isinstance(result, ExecutionResult) else await result


@functools.lru_cache(maxsize=4)  # four are enough: the position changes only once a second
def _extensions(projected_to: ProjectedTo | None, *, is_hit: bool) -> dict[str, Any]:
    """Return whether the cache was hit, and the position that the projections have reached."""
    extensions: dict[str, Any] = {"cache": "HIT" if is_hit else "MISS"}
    if projected_to is not None:
        time = projected_to.time and format_datetime(projected_to.time)
        extensions["projectedTo"] = {"position": projected_to.position, "time": time}
    return extensions


def _merge(
    fields: Sequence[RootField], outcomes: Sequence[Outcome], log: RequestLog
) -> GraphQLResponse:
    """Join the outcomes of the root fields; `data` is null if a non-null field is null."""
    entries: list[bytes] = []
    errors: list[GraphQLError] = []
    has_data = False
    for field, outcome in zip(fields, outcomes, strict=True):
        if isinstance(outcome, bytes):
            has_data = True
            entries.append(field.planned.json_prefix + outcome)
            continue
        errors += outcome.errors or ()
        if outcome.data is None:
            _raise_if_unavailable(errors)
            return _with_errors(None, errors, log)
        value = outcome.data[field.planned.field.key]
        has_data = has_data or value is not None
        entries.append(field.planned.json_prefix + orjson.dumps(value))
    if errors and not has_data:
        _raise_if_unavailable(errors)
    return _with_errors(b"{" + b",".join(entries) + b"}", errors, log)


def to_response(result: ExecutionResult, log: RequestLog) -> GraphQLResponse:
    if not result.errors:
        return GraphQLResponse(orjson.dumps(result.data))
    if all(error.path is None for error in result.errors):  # invalid variables or operation name
        return _reject(result.errors)
    data = None if result.data is None else orjson.dumps(result.data)
    return _with_errors(data, result.errors, log)


def _with_errors(
    data: bytes | None, errors: Sequence[GraphQLError], log: RequestLog
) -> GraphQLResponse:
    """Return a response with formatted errors; `data` is null if an error is FORBIDDEN."""
    if any(isinstance(error.original_error, Forbidden) for error in errors):
        data = None
    formatted = [format_error(error, log) for error in errors]
    return GraphQLResponse(b"null" if data is None else data, formatted)


def _reject(errors: Sequence[GraphQLError]) -> GraphQLResponse:
    formatted = [documents.format_rejection(error) for error in errors]
    return GraphQLResponse(None, formatted, executed=False)


def format_error(error: GraphQLError, log: RequestLog) -> dict[str, Any]:
    """Format an error raised during execution; log the error unless the caller caused it."""
    cause = error.original_error
    if isinstance(cause, Unavailable):
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
        raise transient[0]


def _describe(outage: Unavailable) -> str:
    if isinstance(outage, HistoryTooLong):
        return str(outage)
    if isinstance(outage, PubSubUnavailable):
        return "Pub/Sub does not accept the event: try again"
    dependency = "storage" if isinstance(outage, StorageUnavailable) else "database"
    return f"the {dependency} does not respond: try again"
