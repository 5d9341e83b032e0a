"""How an operation is carried out: its variables, and its root fields, each of which stands alone.

What is unusual has no plan: the executor answers it, errors included.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputType,
    GraphQLScalarType,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    is_non_null_type,
    is_required_argument,
    type_from_ast,
    visit,
)
from graphql.pyutils import Undefined
from graphql.type import get_nullable_type
from graphql.utilities import coerce_input_literal, coerce_input_value

from progress.query.cache.policy import POLICIES
from progress.query.execution import compiled, limits, selections
from progress.query.execution.selections import GRAPHQL, QUERY, Field, Switches, Unusual

_VARIANTS = 16  # of an operation, by its @skip and @include

Values = Mapping[str, Any]


class Variable(NamedTuple):
    """A variable of an operation; its default is Undefined where it has none."""

    name: str
    coerce: Callable[[Any], Any]  # a value that is not null; Undefined where it is none
    default: Any
    is_needed: bool  # not null
    is_required: bool


class Filled(NamedTuple):
    """An argument that a variable gives."""

    name: str
    variable: str
    default: Any
    is_needed: bool


class Root:
    """A field of the query with its arguments, and the document that asks for it alone."""

    def __init__(self, field: Field, tree: DocumentNode) -> None:
        self.field = field
        self.tree = tree
        self.opening = f'"{field.key}":'.encode()
        self.told = field.told()
        self.compiled = compiled.compiled(field)
        policy = POLICIES.get(field.name)
        self.returns_version = self.compiled is not None and policy is not None and not policy.clock
        self.constant = b'"Query"' if field.name == "__typename" else None
        self._fixed, self._each = limits.weight(field)
        self._given: dict[str, Any] = {}
        self._filled: list[Filled] = []
        self._is_odd = False
        if not field.name.startswith("__"):
            self._read()

    def _read(self) -> None:
        sent = {node.name.value: node for node in self.field.nodes[0].arguments or ()}
        for name, argument in QUERY.fields[self.field.name].args.items():
            node = sent.get(name)
            self._is_odd = self._is_odd or (node is not None and _is_mixed(node.value))
            if node and isinstance(node.value, VariableNode):
                self._filled.append(_filled(name, argument, node.value))
            elif (value := _literal(node, argument)) is not Undefined:
                self._given[name] = value

    def arguments(self, variables: Values) -> dict[str, Any] | None:
        """The arguments by name, those left out that are neither given nor have a default.

        None where one is null that may not be, or has variables inside: that is unusual.
        """
        if self._is_odd:
            return None
        found = self._given.copy()
        for name, variable, default, is_needed in self._filled:
            value = variables.get(variable, default)
            if value is None and is_needed:
                return None
            if value is not Undefined:
                found[name] = value
        return found

    def complexity(self, arguments: Values | None) -> int:
        """How many fields the answer may have."""
        if not self._each:
            return self._fixed
        return self._fixed + self._each * limits.entries(self.field.name, arguments)


def _literal(node: ArgumentNode | None, argument: GraphQLArgument) -> Any:
    return coerce_input_literal(node.value, argument.type) if node else argument.default_value


def _is_mixed(value: ValueNode) -> bool:
    """Whether variables are somewhere inside of it."""
    if isinstance(value, ListValueNode):
        return any(isinstance(each, VariableNode) or _is_mixed(each) for each in value.values)
    return isinstance(value, ObjectValueNode)


def _filled(name: str, argument: GraphQLArgument, value: VariableNode) -> Filled:
    is_needed = is_non_null_type(argument.type)
    default = None if is_required_argument(argument) else argument.default_value
    return Filled(name, value.name.value, default, is_needed)


class Operation:
    """One of a document's operations."""

    def __init__(
        self, definition: OperationDefinitionNode, tree: DocumentNode, switches: set[str]
    ) -> None:
        self.definition = definition
        self.kind = definition.operation
        self.name = definition.name.value if definition.name else None
        fragments = [n for n in tree.definitions if isinstance(n, FragmentDefinitionNode)]
        self._fragments = {each.name.value: each for each in fragments}
        self._variables = [_variable(each) for each in definition.variable_definitions or ()]
        names = {each.name for each in self._variables}
        self._switches = sorted(names & switches)
        self._variants: dict[tuple[Any, ...], tuple[Root, ...]] = {}

    def variables(self, given: Values | None) -> dict[str, Any]:
        """The variables' values as the schema takes them; Unusual where it does not."""
        found: dict[str, Any] = {}
        for name, coerce, default, is_needed, is_required in self._variables:
            if given is not None and name in given:
                value = given[name]
                if value is not None:
                    value = coerce(value)
                if value is Undefined or (value is None and is_needed):
                    raise Unusual
                found[name] = value
            elif is_required:
                raise Unusual
            elif default is not Undefined:
                found[name] = default
        return found

    def roots(self, variables: Values) -> tuple[Root, ...]:
        """The root fields in the order of the answer, as the variables switch them on and off."""
        switches: Any = tuple(variables.get(each) for each in self._switches)
        known = self._variants.get(switches)
        if known is None:
            if None in switches:
                raise Unusual
            known = tuple(self._planned(dict(zip(self._switches, switches, strict=True))))
            if len(self._variants) < _VARIANTS:
                self._variants[switches] = known
        return known

    def _planned(self, switches: Switches) -> Iterator[Root]:
        asked = [self.definition.selection_set]
        for field in selections.collected(asked, QUERY, self._fragments, switches):
            yield Root(field, self._alone(field.nodes))

    def _alone(self, nodes: tuple[FieldNode, ...]) -> DocumentNode:
        selected = SelectionSetNode(selections=nodes)
        operation = dataclasses.replace(self.definition, selection_set=selected)
        return DocumentNode(definitions=(operation, *self._fragments.values()))


def _variable(node: VariableDefinitionNode) -> Variable:
    shape = cast("GraphQLInputType", type_from_ast(GRAPHQL, node.type))
    default = Undefined
    if node.default_value:
        default = coerce_input_literal(node.default_value, shape)
    return Variable(
        node.variable.name.value,
        _coercion(cast("GraphQLInputType", get_nullable_type(shape))),
        default,
        is_needed=is_non_null_type(shape),
        is_required=is_non_null_type(shape) and default is Undefined,
    )


def _coercion(shape: GraphQLInputType) -> Callable[[Any], Any]:
    """As `coerce_input_value` does: that of a leaf without finding out each time that it is one."""
    if not isinstance(shape, GraphQLScalarType | GraphQLEnumType):
        return lambda value: coerce_input_value(value, shape)
    of_leaf = shape.coerce_input_value

    def coerced(value: Any) -> Any:
        try:
            return of_leaf(value)
        except Exception:  # noqa: BLE001 - so does graphql-core: whatever a scalar raises
            return Undefined

    return coerced


def switches(tree: DocumentNode) -> set[str]:
    """The variables of @skip and @include."""
    found: set[str] = set()

    class Finder(Visitor):
        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [argument.value for argument in node.arguments or ()]
            found.update(each.name.value for each in values if isinstance(each, VariableNode))

    visit(tree, Finder())
    return found
