"""The plain way of a request: Strawberry's schema under graphql-core's executor."""

from typing import Any

import msgspec
from graphql import DocumentNode, ExecutionResult, execute

from progress.query.execution.selections import GRAPHQL
from progress.query.graphql.context import Context


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """A GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    is_counted: bool = False  # against the limit of its caller


async def executed(tree: DocumentNode, asked: Asked, context: Context) -> ExecutionResult:
    """What the executor makes of the document, with the request's variables."""
    result = execute(
        GRAPHQL,
        tree,
        context_value=context,
        variable_values=asked.variables,
        operation_name=asked.operation_name,
    )
    return result if isinstance(result, ExecutionResult) else await result
