"""Documents of GraphQL, read once each: parsed, and validated against the schema."""

import functools
from collections.abc import Sequence

import msgspec
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationType,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)

from progress.api.schema import SCHEMA

GRAPHQL: GraphQLSchema = SCHEMA._schema  # noqa: SLF001 - Strawberry's own execute() reads a document each time


class Document(msgspec.Struct, frozen=True):
    """A document that may be executed, unless it has faults."""

    tree: DocumentNode | None
    faults: Sequence[GraphQLError] = ()

    def is_query(self, operation_name: str | None) -> bool:
        """Whether it only reads; true also for what is not understood: the answer will say."""
        operation = self.tree and get_operation_ast(self.tree, operation_name)
        return not operation or operation.operation is OperationType.QUERY

    def kind(self, operation_name: str | None) -> OperationType | None:
        """What the operation is; None where there is none that could be executed."""
        operation = None
        if self.tree and not self.faults:
            operation = get_operation_ast(self.tree, operation_name)
        return operation.operation if operation else None


@functools.lru_cache(maxsize=1_000)
def read(text: str, *, introspection: bool) -> Document:
    """The document of that text."""
    rules = specified_rules
    if not introspection:
        rules = (*rules, NoSchemaIntrospectionCustomRule)
    try:
        tree = parse(text)
    except GraphQLError as fault:
        return Document(None, (fault,))
    except RecursionError:
        return Document(None, (GraphQLError("Syntax Error: the document is nested too deeply."),))
    return Document(tree, validate(GRAPHQL, tree, rules))
