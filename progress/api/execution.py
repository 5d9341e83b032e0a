"""From a GraphQL request to its answer: the data as JSON, and the errors in the API's codes."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from graphql import ExecutionResult, GraphQLError, OperationType, execute

from progress.api import documents, faults
from progress.api.context import Context
from progress.errors import Forbidden


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """A GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


class Answer(msgspec.Struct, frozen=True):
    """A GraphQL response in its parts; `data` is JSON, None where there is to be no such entry.

    `executed` is false where the request was refused before execution.
    """

    data: bytes | None
    errors: list[dict[str, Any]] = []
    extensions: dict[str, Any] = {}
    executed: bool = True


def is_query(asked: Asked, *, introspection: bool) -> bool:
    """Whether it only reads; true also for what is not understood, which the answer will say."""
    document = documents.read(asked.query, introspection=introspection)
    return document.is_query(asked.operation_name)


async def answered(asked: Asked, context: Context, *, introspection: bool, trace: str) -> Answer:
    """The response; each error has a code, and one of ours is masked and logged.

    `trace` is a W3C traceparent.
    """
    document = documents.read(asked.query, introspection=introspection)
    if document.tree is None or document.faults:
        return _refusal(document.faults)
    if (
        context.changes is None
        and document.kind(asked.operation_name) is OperationType.SUBSCRIPTION
    ):
        return _refusal([GraphQLError("expected a query: subscriptions are for /graphql/stream")])
    result = execute(
        documents.GRAPHQL,
        document.tree,
        context_value=context,
        variable_values=asked.variables,
        operation_name=asked.operation_name,
    )
    if not isinstance(result, ExecutionResult):
        result = await result
    return told(result, trace)


def told(result: ExecutionResult, trace: str) -> Answer:
    """The answer that a result comes to; `trace` is a W3C traceparent."""
    if not result.errors:
        return Answer(orjson.dumps(result.data))
    if all(fault.path is None for fault in result.errors):  # variables, the operation's name
        return _refusal(result.errors)
    data = result.data
    if any(isinstance(fault.original_error, Forbidden) for fault in result.errors):
        data = None
    return Answer(orjson.dumps(data), [faults.told(each, trace) for each in result.errors])


def _refusal(found: Sequence[GraphQLError]) -> Answer:
    """The answer to a request that is none."""
    return Answer(None, [faults.refused(each) for each in found], executed=False)
