"""Execution of a GraphQL request: from the document to the data (as JSON) and the errors.

Each root field of a query is resolved separately: from the cache, by the compiled path or by the
executor. The executor runs every request that cannot be split into root fields. If the compiled
path or a computation for the cache fails, the executor runs the root field again, so that error
messages come from the executor. If a root field failed because the database did not respond, the
executor does not run the field again.
"""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from graphql import ExecutionResult, GraphQLError, OperationType

from progress.errors import Forbidden, QueryTooComplex
from progress.query.cache.cache import AnswerCache
from progress.query.cache.versions import ProjectedTo
from progress.query.execution import documents, executor, root_fields
from progress.query.execution import errors as graphql_errors
from progress.query.execution.access_log import RequestLog
from progress.query.execution.documents import Document
from progress.query.execution.executor import GraphQLRequest
from progress.query.execution.root_fields import Outcome, QueryExecution, RootField
from progress.query.graphql import scalars
from progress.query.graphql.context import Context

__all__ = ["GraphQLRequest", "GraphQLResponse", "is_query", "run", "to_response"]


class GraphQLResponse(msgspec.Struct, frozen=True):
    """The parts of a GraphQL response; `data` is JSON, or None if the response omits this member.

    `executed` is false if the request was rejected before execution.
    """

    data: bytes | None
    errors: list[dict[str, Any]] = []
    extensions: dict[str, Any] = {}
    executed: bool = True


def is_query(request: GraphQLRequest, *, introspection: bool) -> bool:
    """Return True for a query, and for an operation that is missing or cannot be parsed."""
    document = documents.read(request.query, introspection=introspection)
    return document.is_query(request.operation_name)


async def run(
    request: GraphQLRequest,
    context: Context,
    *,
    cache: AnswerCache,
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
    fields = [] if isinstance(plan, GraphQLResponse) else plan
    keys = [field.cache_key for field in fields if field.cache_key]
    caller = context.caller.user_id if not request.is_counted else None
    lookup = await cache.lookup(caller, keys, at=context.at, bypass=bypass)
    if isinstance(plan, GraphQLResponse):
        return plan
    if not await _may_read(fields, context):
        fields = []  # the executor then runs the document and reports Forbidden
    execution = QueryExecution(request, context, cache, lookup)
    response = await _respond(document, fields, execution, log)
    if keys and not response.errors:
        log.cache_result = lookup.result
    return response


async def _may_read(fields: Sequence[RootField], context: Context) -> bool:
    """Return whether the caller may read the data of each field's learner.

    Cached fields are checked, too.
    """
    try:
        for field in fields:
            await context.check_learner(field.user_id)
    except Forbidden:
        return False
    return True


async def _respond(
    document: Document, fields: Sequence[RootField], execution: QueryExecution, log: RequestLog
) -> GraphQLResponse:
    """Run the root fields; if the list is empty, let the executor run the whole document."""
    is_constant = bool(fields) and all(field.planned.constant for field in fields)
    projected_to = None if is_constant else await execution.cache.versions.projected_to()
    if fields:
        response = _merge(fields, await execution.run(fields), log)
    else:
        result = await executor.execute_document(
            document.tree, execution.request, execution.context
        )
        if result.errors and not any(value is not None for value in (result.data or {}).values()):
            graphql_errors.raise_if_unavailable(result.errors)
        response = to_response(result, log)
    if is_constant:
        return response
    # HIT if every cacheable field was cached.
    is_hit = bool(fields) and not response.errors and execution.lookup.result == "hit"
    extensions = _extensions(projected_to, is_hit=is_hit)
    return GraphQLResponse(response.data, response.errors, extensions, response.executed)


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
            graphql_errors.raise_if_unavailable(errors)
            return _with_errors(None, errors, log)
        value = outcome.data[field.planned.field.key]
        has_data = has_data or value is not None
        entries.append(field.planned.json_prefix + orjson.dumps(value))
    if errors and not has_data:
        graphql_errors.raise_if_unavailable(errors)
    return _with_errors(b"{" + b",".join(entries) + b"}", errors, log)


def _with_errors(
    data: bytes | None, errors: Sequence[GraphQLError], log: RequestLog
) -> GraphQLResponse:
    """Return a response with formatted errors; `data` is null if an error is FORBIDDEN."""
    if any(isinstance(error.original_error, Forbidden) for error in errors):
        data = None
    formatted = [graphql_errors.format_error(error, log) for error in errors]
    return GraphQLResponse(b"null" if data is None else data, formatted)


def _plan(
    document: Document, request: GraphQLRequest, context: Context, log: RequestLog
) -> list[RootField] | GraphQLResponse:
    """Return a rejection or the root fields to run; [] if the executor must run the document."""
    if document.errors:
        return GraphQLResponse(None, document.errors, executed=False)
    operation = document.operation(request.operation_name)
    if operation is None:
        return []
    if operation.kind is OperationType.MUTATION:
        log.note_mutation()
    if operation.kind is OperationType.SUBSCRIPTION and context.live_queries is None:
        return _reject(
            [GraphQLError("expected a query: subscriptions are available at /graphql/stream")]
        )
    try:
        return root_fields.plan(operation, request.variables, context)
    except QueryTooComplex as error:
        return _reject([GraphQLError(str(error), original_error=error)])


@functools.lru_cache(maxsize=4)  # four are enough: the position changes only once a second
def _extensions(projected_to: ProjectedTo | None, *, is_hit: bool) -> dict[str, Any]:
    """Return whether the cache was hit, and the position that the projections have reached."""
    extensions: dict[str, Any] = {"cache": "HIT" if is_hit else "MISS"}
    if projected_to is not None:
        time = projected_to.time and scalars.format_datetime(projected_to.time)
        extensions["projectedTo"] = {"position": projected_to.position, "time": time}
    return extensions


def to_response(result: ExecutionResult, log: RequestLog) -> GraphQLResponse:
    """Return the response for an executor's result."""
    if not result.errors:
        return GraphQLResponse(orjson.dumps(result.data))
    if all(error.path is None for error in result.errors):  # invalid variables or operation name
        return _reject(result.errors)
    data = None if result.data is None else orjson.dumps(result.data)
    return _with_errors(data, result.errors, log)


def _reject(errors: Sequence[GraphQLError]) -> GraphQLResponse:
    formatted = [graphql_errors.format_rejection(error) for error in errors]
    return GraphQLResponse(None, formatted, executed=False)
