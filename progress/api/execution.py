"""From a GraphQL request to its answer: the data as JSON, and the errors in the API's codes.

Each root field of a query is answered by itself, compiled or by the executor, and the parts are
joined. Whatever is unusual about the request, or goes wrong in a part: the executor answers the
whole of it, so that what is said of an error is always the executor's.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from graphql import DocumentNode, ExecutionResult, GraphQLError, OperationType, execute

from progress.api import documents, faults, limits
from progress.api.context import Context
from progress.api.plans import Operation, Root
from progress.api.selections import GRAPHQL, Unusual
from progress.errors import Forbidden, TooComplex

Values = dict[str, Any]


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """A GraphQL request."""

    query: str
    variables: Values | None = None
    operation_name: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """A GraphQL response in its parts; `data` is JSON, None where there is to be no such entry.

    `executed` is false where the request was refused before execution.
    """

    data: bytes | None
    errors: list[dict[str, Any]] = []
    extensions: dict[str, Any] = {}
    executed: bool = True


class Part(msgspec.Struct, frozen=True):
    """A root field that is to be answered by itself."""

    root: Root
    arguments: Values

    @property
    def is_compiled(self) -> bool:
        """Whether one SELECT answers it; not where it is about the past."""
        return self.root.compiled is not None and not (
            self.arguments.get("asOf") or self.arguments.get("knownAt")
        )


def is_query(asked: Asked, *, introspection: bool) -> bool:
    """Whether it only reads; true also for what is not understood, which the answer will say."""
    document = documents.read(asked.query, introspection=introspection)
    return document.is_query(asked.operation_name)


async def answered(asked: Asked, context: Context, *, introspection: bool, trace: str) -> Answer:
    """The response; each error has a code, and one of ours is masked and logged.

    `trace` is a W3C traceparent.
    """
    document = documents.read(asked.query, introspection=introspection)
    if document.tree is None:
        return Answer(None, document.errors, executed=False)
    operation = document.operation(asked.operation_name)
    if (
        context.changes is None
        and operation is not None
        and operation.kind is OperationType.SUBSCRIPTION
    ):
        return _refusal([GraphQLError("expected a query: subscriptions are for /graphql/stream")])
    try:
        parts = _parts(operation, asked.variables)
    except TooComplex as fault:
        return _refusal([GraphQLError(str(fault), original_error=fault)])
    if parts:
        data = await _joined(parts, asked, context)
        if data is not None:
            return Answer(data)
    return told(await _executed(document.tree, asked, context), trace)


def _parts(operation: Operation | None, given: Values | None) -> list[Part]:
    """The parts of a query; none where it is no query, or is unusual. TooComplex for too much."""
    if operation is None or operation.kind is not OperationType.QUERY:
        return []
    try:
        variables = operation.variables(given)
        asked = [(each, each.arguments(variables)) for each in operation.roots(variables)]
    except Unusual:
        return []
    limits.check_complexity(sum(root.complexity(arguments) for root, arguments in asked))
    parts = [Part(root, arguments) for root, arguments in asked if arguments is not None]
    return parts if len(parts) == len(asked) else []


async def _joined(parts: Sequence[Part], asked: Asked, context: Context) -> bytes | None:
    """The data of all parts; None where one of them has none."""
    found: Sequence[bytes | BaseException]
    if len(parts) == 1 and not parts[0].is_compiled:
        return None
    found = await asyncio.gather(
        *(_answered(part, asked, context) for part in parts), return_exceptions=True
    )
    entries = [
        part.root.opening + data
        for part, data in zip(parts, found, strict=True)
        if isinstance(data, bytes)
    ]
    return b"{" + b",".join(entries) + b"}" if len(entries) == len(parts) else None


async def _answered(part: Part, asked: Asked, context: Context) -> bytes:
    root = part.root
    if root.compiled is None or not part.is_compiled:
        return await _alone(root, asked, context)
    learner = context.learner(part.arguments.get("userId"))
    return await root.compiled.answered(learner, part.arguments, context.at)


async def _alone(root: Root, asked: Asked, context: Context) -> bytes:
    """The part as the executor answers it; Unusual where there are errors."""
    result = await _executed(root.tree, asked, context)
    if result.errors or result.data is None:
        raise Unusual
    return orjson.dumps(result.data[root.field.key])


async def _executed(tree: DocumentNode, asked: Asked, context: Context) -> ExecutionResult:
    result = execute(
        GRAPHQL,
        tree,
        context_value=context,
        variable_values=asked.variables,
        operation_name=asked.operation_name,
    )
    return result if isinstance(result, ExecutionResult) else await result


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
