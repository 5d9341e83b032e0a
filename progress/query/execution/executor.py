"""The executor: graphql-core's `execute` with Strawberry's schema."""

from typing import Any

import msgspec
from graphql import DocumentNode, ExecutionResult, execute

from progress.query.execution.selections import GRAPHQL
from progress.query.graphql.context import Context


class GraphQLRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    is_counted: bool = False  # whether the rate limit has already counted the request


async def execute_document(
    tree: DocumentNode, request: GraphQLRequest, context: Context
) -> ExecutionResult:
    """Execute a document with the request's variables."""
    result = execute(
        GRAPHQL,
        tree,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
    )
    return result if isinstance(result, ExecutionResult) else await result
