"""Plans of operations.

A plan consists of the operation's variables and its root fields. The root fields run independently.
If an operation cannot be planned, Fallback is raised, and the executor runs the whole operation.
"""

import dataclasses
import sys
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

from progress.query.execution import compiled, limits, selections
from progress.query.execution.selections import GRAPHQL, QUERY, DirectiveValues, Fallback, Field
from progress.query.graphql.fields import FIELDS, UNDECLARED

# The estimated memory of a plan, of each root field in it, and of each selected field.
_PLAN_BYTES, _ROOT_BYTES, _NODE_BYTES = 500, 4_000, 400
_MAX_VARIANTS = 16  # cached plans per operation, one per combination of @skip and @include values

Values = Mapping[str, Any]


class Variable(NamedTuple):
    """A variable of an operation; `default` is Undefined if the variable has no default."""

    name: str
    coerce: Callable[[Any], Any]  # not called with null; returns Undefined for an invalid value
    default: Any
    is_non_null: bool
    is_required: bool


class BoundArgument(NamedTuple):
    """An argument whose value is a variable."""

    name: str
    variable: str
    default: Any
    is_non_null: bool


class PlannedField:
    """A root field of a query, its arguments, and a document that selects only this field."""

    def __init__(self, field: Field, tree: DocumentNode) -> None:
        self.field = field
        self.tree = tree
        self.json_prefix = f'"{field.key}":'.encode()
        self.selection = field.canonical_text()
        self.declaration = FIELDS.get(field.name, UNDECLARED)
        self.compiled = compiled.compile_field(field, self.declaration)
        policy = self.declaration.cache
        self.returns_version = self.compiled is not None and policy is not None and not policy.clock
        self.constant = b'"Query"' if field.name == "__typename" else None
        self._weight, self._entry_weight = limits.weigh(field)
        self._nested_rows = limits.rows_of_nested_lists(self.declaration.cost, field)
        self._literals: dict[str, Any] = {}
        self._bound: list[BoundArgument] = []
        self._is_fallback = False
        if not field.name.startswith("__"):
            self._read_arguments()

    def _read_arguments(self) -> None:
        nodes = {node.name.value: node for node in self.field.nodes[0].arguments or ()}
        for name, argument in QUERY.fields[self.field.name].args.items():
            node = nodes.get(name)
            if node and _has_inner_variable(node.value):
                self._is_fallback = True
            if node and isinstance(node.value, VariableNode):
                self._bound.append(_bind(name, argument, node.value))
            elif (value := _literal(node, argument)) is not Undefined:
                self._literals[name] = value

    def arguments(self, variables: Values) -> dict[str, Any] | None:
        """Return the arguments that have a value or a default, by name.

        Return None if a non-null argument is null, if an argument is an object, or if a list
        contains a variable or an object. In these cases, the executor must run the field.
        """
        if self._is_fallback:
            return None
        arguments = self._literals.copy()
        for name, variable, default, is_non_null in self._bound:
            value = variables.get(variable, default)
            if value is None and is_non_null:
                return None
            if value is not Undefined:
                arguments[name] = value
        return arguments

    def measure(self) -> int:
        """Return the estimated memory of this field's plan, in bytes."""
        texts = sys.getsizeof(self.json_prefix) + 2 * sys.getsizeof(self.selection)
        nodes = sys.getsizeof(self.tree.definitions) + _count_nodes(self.field) * _NODE_BYTES
        return _ROOT_BYTES + texts + nodes

    def complexity(self, arguments: Values | None) -> int:
        """Return the maximum number of fields that this root field adds to the response."""
        if not self._entry_weight:
            return self._weight
        entries = limits.count_entries(self.declaration.cost, arguments)
        return self._weight + self._entry_weight * entries

    def rows_to_read(self, arguments: Values | None) -> int:
        """Return the number of rows that the field may read, in thousands."""
        return self._nested_rows + limits.rows_to_read(self.declaration.cost, arguments)


def _count_nodes(field: Field) -> int:
    return len(field.nodes) + sum(1 + _count_nodes(inner) for inner in field.selections)


def _literal(node: ArgumentNode | None, argument: GraphQLArgument) -> Any:
    return coerce_input_literal(node.value, argument.type) if node else argument.default_value


def _has_inner_variable(value: ValueNode) -> bool:
    """Return True for a list that contains a variable or an object, and for any object."""
    if isinstance(value, ListValueNode):
        return any(
            isinstance(element, VariableNode) or _has_inner_variable(element)
            for element in value.values
        )
    return isinstance(value, ObjectValueNode)


def _bind(name: str, argument: GraphQLArgument, value: VariableNode) -> BoundArgument:
    is_non_null = is_non_null_type(argument.type)
    default = None if is_required_argument(argument) else argument.default_value
    return BoundArgument(name, value.name.value, default, is_non_null)


class Operation:
    """One operation of a document."""

    on_plan: Callable[[int], object]  # called with the memory of each cached plan, in bytes

    def __init__(
        self,
        definition: OperationDefinitionNode,
        fragments: selections.Fragments,
        condition_names: set[str],
    ) -> None:
        """Prepare the operation.

        `fragments` are the document's fragments by name.
        `condition_names` are the names of all variables in the document's @skip and @include.
        """
        self.definition = definition
        self.kind = definition.operation
        self.name = definition.name.value if definition.name else None
        self._fragments = fragments
        self._variables = [_variable(node) for node in definition.variable_definitions or ()]
        names = {variable.name for variable in self._variables}
        self._directives = sorted(names & condition_names)
        self._variants: dict[tuple[Any, ...], tuple[PlannedField, ...]] = {}

    def coerce_variables(self, sent: Values | None) -> dict[str, Any]:
        """Return the coerced variables; raise Fallback if a value is invalid or missing."""
        values: dict[str, Any] = {}
        for name, coerce, default, is_non_null, is_required in self._variables:
            if sent is not None and name in sent:
                value = sent[name]
                if value is not None:
                    value = coerce(value)
                if value is Undefined or (value is None and is_non_null):
                    raise Fallback
                values[name] = value
            elif is_required:
                raise Fallback
            elif default is not Undefined:
                values[name] = default
        return values

    def root_fields(self, variables: Values) -> tuple[PlannedField, ...]:
        """Return the root fields that @skip and @include do not exclude, in response order."""
        values: Any = tuple(variables.get(name) for name in self._directives)
        variant = self._variants.get(values)
        if variant is None:
            if None in values:
                raise Fallback
            variant = tuple(self._plan(dict(zip(self._directives, values, strict=True))))
            if len(self._variants) < _MAX_VARIANTS:
                self._variants[values] = variant
                fields = sum(field.measure() for field in variant)
                self.on_plan(fields + _PLAN_BYTES)
        return variant

    def _plan(self, directives: DirectiveValues) -> Iterator[PlannedField]:
        selection_sets = [self.definition.selection_set]
        for field in selections.collect_fields(selection_sets, QUERY, self._fragments, directives):
            yield PlannedField(field, self._document_of(field.nodes))

    def _document_of(self, nodes: tuple[FieldNode, ...]) -> DocumentNode:
        selection_set = SelectionSetNode(selections=nodes)
        operation = dataclasses.replace(self.definition, selection_set=selection_set)
        return DocumentNode(definitions=(operation, *self._fragments.values()))


def _variable(node: VariableDefinitionNode) -> Variable:
    type_ = cast("GraphQLInputType", type_from_ast(GRAPHQL, node.type))
    default = Undefined
    if node.default_value:
        default = coerce_input_literal(node.default_value, type_)
    return Variable(
        node.variable.name.value,
        _coercion(cast("GraphQLInputType", get_nullable_type(type_))),
        default,
        is_non_null=is_non_null_type(type_),
        is_required=is_non_null_type(type_) and default is Undefined,
    )


def _coercion(type_: GraphQLInputType) -> Callable[[Any], Any]:
    """Return a function that coerces a value to the type.

    The function for a leaf type makes fewer checks than graphql-core's `coerce_input_value`.
    """
    if not isinstance(type_, GraphQLScalarType | GraphQLEnumType):
        return lambda value: coerce_input_value(value, type_)
    coerce_leaf = type_.coerce_input_value

    def coerce(value: Any) -> Any:
        try:
            return coerce_leaf(value)
        except Exception:  # noqa: BLE001 - graphql-core, too, catches whatever a scalar raises
            return Undefined

    return coerce


def fragments_of(tree: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """Return the document's fragments by name."""
    fragments = (n for n in tree.definitions if isinstance(n, FragmentDefinitionNode))
    return {fragment.name.value: fragment for fragment in fragments}


def directive_variables(tree: DocumentNode) -> set[str]:
    """Return the names of the variables of @skip and @include."""
    names: set[str] = set()

    class Finder(Visitor):
        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [argument.value for argument in node.arguments or ()]
            names.update(value.name.value for value in values if isinstance(value, VariableNode))

    visit(tree, Finder())
    return names
