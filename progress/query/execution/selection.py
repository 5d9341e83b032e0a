"""The fields that an operation selects, as graphql-core collects them.

graphql-core applies @skip and @include, expands fragments, and merges fields with equal response
keys. The executor, the cache and the limits read the same collected fields. The schema has neither
interfaces nor unions. In a valid document, the type condition of every fragment is therefore met.
"""

import re
from typing import Any, cast

import msgspec
from graphql import (
    Executor,
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    is_list_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetails, collect_fields, collect_subfields
from graphql.type import get_nullable_type

_BEFORE_CAPITAL = re.compile(r"(?=[A-Z])")


class Field(msgspec.Struct, frozen=True):
    """A selected field, merged from all nodes with the same parent and the same response key.

    graphql-core takes the arguments from the first of these nodes. `is_valid` is false if
    graphql-core will report an error in the selections, because the value of a condition is null.
    """

    key: str
    node: FieldNode
    definition: GraphQLField
    selections: tuple["Field", ...] = ()
    is_valid: bool = True

    @property
    def name(self) -> str:
        return self.node.name.value

    @property
    def type_name(self) -> str:
        return get_named_type(self.definition.type).name

    @property
    def is_list(self) -> bool:
        return is_list_type(get_nullable_type(self.definition.type))

    @property
    def column(self) -> str:
        """The field's column in its read model; the column has the field's name in snake case."""
        return _BEFORE_CAPITAL.sub("_", self.name).lower()

    def count(self, name: str) -> int:
        """Return how many fields of this name the selections have, at any depth."""
        return sum((each.name == name) + each.count(name) for each in self.selections)

    def canonical_text(self) -> str:
        """Return the field and its selections as text.

        Fields with equal texts and equal arguments have equal responses.
        """
        selections = ",".join(field.canonical_text() for field in self.selections)
        return f"{self.key}:{self.name}{{{selections}}}"


def collect(executor: Executor[Any]) -> tuple[Field, ...]:
    """Return the root fields of the executor's operation, in the order of the response.

    Raise GraphQLError if the value of a root field's condition is null.
    """
    root = cast("GraphQLObjectType", executor.schema.get_root_type(executor.operation.operation))
    collected = collect_fields(
        executor.schema, executor.fragments, executor.variable_values, root, executor.operation
    )
    return _fields(executor, root, collected.grouped_field_set)


def _fields(
    executor: Executor[Any], parent: GraphQLObjectType, grouped: dict[str, list[FieldDetails]]
) -> tuple[Field, ...]:
    return tuple(_field(executor, parent, key, details) for key, details in grouped.items())


def _field(
    executor: Executor[Any], parent: GraphQLObjectType, key: str, details: list[FieldDetails]
) -> Field:
    node = details[0].node
    definition = cast("GraphQLField", executor.schema.get_field(parent, node.name.value))
    type_ = get_named_type(definition.type)
    if not is_object_type(type_) or node.name.value.startswith("__"):
        return Field(key, node, definition)
    schema, fragments, values = executor.schema, executor.fragments, executor.variable_values
    try:
        collected = collect_subfields(schema, fragments, values, executor.operation, type_, details)
    except GraphQLError:
        return Field(key, node, definition, is_valid=False)
    selections = _fields(executor, type_, collected.grouped_field_set)
    is_valid = all(selected.is_valid for selected in selections)
    return Field(key, node, definition, selections, is_valid)
