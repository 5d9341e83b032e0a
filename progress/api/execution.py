"""From a GraphQL request to its response: documents read once, errors told in the API's codes."""

import functools
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from progress import logs
from progress.api.schema import SCHEMA, Context
from progress.errors import Forbidden, Refused, Unavailable

_SCHEMA = SCHEMA._schema  # noqa: SLF001 - Strawberry's own execute() reads a document each time


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """A GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


class Answer(msgspec.Struct, frozen=True):
    """A GraphQL response. `executed` is false where the request was refused before execution."""

    body: dict[str, Any]
    executed: bool


def is_query(asked: Asked) -> bool:
    """Whether it only reads; true also for what is not understood, which the answer will say."""
    try:
        operation = get_operation_ast(parse(asked.query), asked.operation_name)
    except (GraphQLError, RecursionError):
        return True
    return operation is None or operation.operation is OperationType.QUERY


async def answered(asked: Asked, context: Context, *, introspection: bool, trace: str) -> Answer:
    """The response; each error has a code, and one of ours is masked and logged.

    `trace` is a W3C traceparent.
    """
    try:
        document, faults = _read(asked.query, introspection=introspection)
    except GraphQLError as fault:
        faults = (fault,)
    except RecursionError:
        faults = (GraphQLError("Syntax Error: the document is nested too deeply."),)
    if faults:
        return Answer(_refusal(faults), executed=False)
    result = execute(
        _SCHEMA,
        document,
        context_value=context,
        variable_values=asked.variables,
        operation_name=asked.operation_name,
    )
    if not isinstance(result, ExecutionResult):
        result = await result
    return _told(result, trace)


@functools.lru_cache(maxsize=1_000)
def _read(text: str, *, introspection: bool) -> tuple[DocumentNode, Sequence[GraphQLError]]:
    rules = specified_rules
    if not introspection:
        rules = (*rules, NoSchemaIntrospectionCustomRule)
    document = parse(text)
    return document, validate(_SCHEMA, document, rules)


def _told(result: ExecutionResult, trace: str) -> Answer:
    if not result.errors:
        return Answer({"data": result.data}, executed=True)
    if all(fault.path is None for fault in result.errors):  # variables, the operation's name
        return Answer(_refusal(result.errors), executed=False)
    data = result.data
    if any(isinstance(fault.original_error, Forbidden) for fault in result.errors):
        data = None
    return Answer(
        {"errors": [_error(f, trace) for f in result.errors], "data": data}, executed=True
    )


def _refusal(faults: Sequence[GraphQLError]) -> dict[str, Any]:
    """The response to a request that is none."""
    return {"errors": [_coded(fault, "BAD_USER_INPUT") for fault in faults]}


def _error(fault: GraphQLError, trace: str) -> dict[str, Any]:
    cause = fault.original_error
    if isinstance(cause, Refused):
        return _coded(fault, cause.code)
    if isinstance(cause, Unavailable):
        logs.write("WARNING", f"not answered: {cause}", trace_parent=trace)
        return _coded(fault, "UNAVAILABLE", "the database does not answer: try again")
    if cause is None or isinstance(cause, GraphQLError):
        return _coded(fault, "BAD_USER_INPUT")
    stack = "".join(traceback.format_exception(cause))
    logs.write("ERROR", f"not answered: {cause}", trace_parent=trace, stack_trace=stack)
    trace_id = trace.split("-")[1]
    return _coded(fault, "INTERNAL", f"an error of ours, logged as {trace_id}", traceId=trace_id)


def _coded(
    fault: GraphQLError, code: str, message: str | None = None, **more: str
) -> dict[str, Any]:
    told: dict[str, Any] = {**fault.formatted, "extensions": {"code": code, **more}}
    if message is not None:
        told["message"] = message
    return told
