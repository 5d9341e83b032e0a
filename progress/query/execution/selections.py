"""What an operation selects: its fields, fragments written out and fields of one name merged.

The schema has object types only, so that a fragment of a valid document always applies.
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

GRAPHQL = SCHEMA._schema  # noqa: SLF001 - Strawberry's own execute() reads a document each time
QUERY = cast("GraphQLObjectType", GRAPHQL.query_type)

_SNAKE = re.compile(r"(?=[A-Z])")

Fragments = Mapping[str, FragmentDefinitionNode]
Switches = Mapping[str, bool]  # what the variables of @skip and @include are


class Unusual(Exception):
    """What is asked is not answered in parts; the executor answers it."""


class Field(msgspec.Struct, frozen=True):
    """A field, with all of the document's that share its place and its response key."""

    key: str
    name: str
    shape: str  # its type's name
    is_many: bool
    inside: tuple["Field", ...]
    nodes: tuple[FieldNode, ...]

    @property
    def column(self) -> str:
        """Its name in the read models: GraphQL's in snake case."""
        return _SNAKE.sub("_", self.name).lower()

    def told(self) -> str:
        """It and what is inside as text, the same for the same answer."""
        inside = ",".join(each.told() for each in self.inside)
        return f"{self.key}:{self.name}{{{inside}}}"


def collected(
    selections: Sequence[SelectionSetNode],
    parent: GraphQLObjectType,
    fragments: Fragments,
    switches: Switches,
) -> tuple[Field, ...]:
    """The fields that are asked for, in the order of the answer."""
    found: dict[str, list[FieldNode]] = {}
    spread: set[str] = set()
    for selection in selections:
        for node in _fields(selection, fragments, switches, spread):
            found.setdefault((node.alias or node.name).value, []).append(node)
    return tuple(
        _field(key, tuple(nodes), parent, fragments, switches) for key, nodes in found.items()
    )


def _field(
    key: str,
    nodes: tuple[FieldNode, ...],
    parent: GraphQLObjectType,
    fragments: Fragments,
    switches: Switches,
) -> Field:
    name = nodes[0].name.value
    if name.startswith("__"):
        return Field(key, name, "", is_many=False, inside=(), nodes=nodes)
    answer = parent.fields[name].type
    shape = get_named_type(answer)
    inside: tuple[Field, ...] = ()
    if is_object_type(shape):
        selections = [node.selection_set for node in nodes if node.selection_set]
        inside = collected(selections, shape, fragments, switches)
    is_many = is_list_type(get_nullable_type(answer))
    return Field(key, name, shape.name, is_many=is_many, inside=inside, nodes=nodes)


def _fields(
    selection: SelectionSetNode, fragments: Fragments, switches: Switches, spread: set[str]
) -> Iterator[FieldNode]:
    for node in selection.selections:
        if not all(_is_met(each, switches) for each in node.directives or ()):
            continue
        if isinstance(node, FieldNode):
            yield node
        elif inside := _written_out(node, fragments, spread):
            yield from _fields(inside, fragments, switches, spread)


def _written_out(
    node: SelectionNode, fragments: Fragments, spread: set[str]
) -> SelectionSetNode | None:
    if isinstance(node, InlineFragmentNode):
        return node.selection_set
    if not isinstance(node, FragmentSpreadNode) or node.name.value in spread:
        return None
    spread.add(node.name.value)
    return fragments[node.name.value].selection_set


def _is_met(directive: DirectiveNode, switches: Switches) -> bool:
    (argument,) = directive.arguments or ()
    condition = argument.value
    if isinstance(condition, VariableNode):
        value = switches[condition.name.value]
    else:
        value = isinstance(condition, BooleanValueNode) and condition.value
    return value is (directive.name.value == "include")
