"""The fields that an operation selects.

Fragments are expanded, and fields with equal response keys are merged. The schema has neither
interfaces nor unions. In a valid document, the type condition of every fragment is therefore met.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import msgspec
from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_list_type,
    is_object_type,
)
from graphql.type import get_nullable_type

from progress.query.graphql.schema import SCHEMA

GRAPHQL = SCHEMA._schema  # noqa: SLF001 - SCHEMA.execute() would parse every document again
QUERY = cast("GraphQLObjectType", GRAPHQL.query_type)

_BEFORE_CAPITAL = re.compile(r"(?=[A-Z])")

Fragments = Mapping[str, FragmentDefinitionNode]
DirectiveValues = Mapping[str, bool]  # the values of the variables of @skip and @include


class Fallback(Exception):
    """The compiled path does not support a request or field; the executor must run it."""


class Field(msgspec.Struct, frozen=True):
    """A selected field, merged from all nodes with the same parent and the same response key."""

    key: str
    name: str
    type_name: str
    is_list: bool
    selections: tuple["Field", ...]
    nodes: tuple[FieldNode, ...]

    @property
    def column(self) -> str:
        """The field's column in its read model; the column has the field's name in snake case."""
        return _BEFORE_CAPITAL.sub("_", self.name).lower()

    def canonical_text(self) -> str:
        """Return the field and its selections as text.

        Fields with equal texts and equal arguments have equal responses.
        """
        selections = ",".join(field.canonical_text() for field in self.selections)
        return f"{self.key}:{self.name}{{{selections}}}"


def collect_fields(
    selection_sets: Sequence[SelectionSetNode],
    parent: GraphQLObjectType,
    fragments: Fragments,
    directives: DirectiveValues,
) -> tuple[Field, ...]:
    """Return the selected fields, in the order of the response."""
    nodes_by_key: dict[str, list[FieldNode]] = {}
    expanded: set[str] = set()
    for selection_set in selection_sets:
        for node in _field_nodes(selection_set, fragments, directives, expanded):
            nodes_by_key.setdefault((node.alias or node.name).value, []).append(node)
    return tuple(
        _field(key, tuple(nodes), parent, fragments, directives)
        for key, nodes in nodes_by_key.items()
    )


def _field(
    key: str,
    nodes: tuple[FieldNode, ...],
    parent: GraphQLObjectType,
    fragments: Fragments,
    directives: DirectiveValues,
) -> Field:
    name = nodes[0].name.value
    if name.startswith("__"):
        return Field(key, name, "", is_list=False, selections=(), nodes=nodes)
    type_ = parent.fields[name].type
    named_type = get_named_type(type_)
    selections: tuple[Field, ...] = ()
    if is_object_type(named_type):
        selection_sets = [node.selection_set for node in nodes if node.selection_set]
        selections = collect_fields(selection_sets, named_type, fragments, directives)
    is_list = is_list_type(get_nullable_type(type_))
    return Field(key, name, named_type.name, is_list=is_list, selections=selections, nodes=nodes)


def _field_nodes(
    selection_set: SelectionSetNode,
    fragments: Fragments,
    directives: DirectiveValues,
    expanded: set[str],
) -> Iterator[FieldNode]:
    for node in selection_set.selections:
        if not all(_is_included(directive, directives) for directive in node.directives or ()):
            continue
        if isinstance(node, FieldNode):
            yield node
        elif inner := _expand(node, fragments, expanded):
            yield from _field_nodes(inner, fragments, directives, expanded)


def _expand(
    node: SelectionNode, fragments: Fragments, expanded: set[str]
) -> SelectionSetNode | None:
    if isinstance(node, InlineFragmentNode):
        return node.selection_set
    if not isinstance(node, FragmentSpreadNode) or node.name.value in expanded:
        return None
    expanded.add(node.name.value)
    return fragments[node.name.value].selection_set


def _is_included(directive: DirectiveNode, directives: DirectiveValues) -> bool:
    (argument,) = directive.arguments or ()
    condition = argument.value
    if isinstance(condition, VariableNode):
        value = directives[condition.name.value]
    else:
        value = isinstance(condition, BooleanValueNode) and condition.value
    return value is (directive.name.value == "include")
