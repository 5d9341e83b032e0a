"""Documents and their plans, cached by text: each is checked, parsed, validated and planned once.

Rejected documents are cached with their formatted errors, so that repeated attacks cost little.

A plan consists of an operation's variables and its root fields. The root fields run independently.
If an operation cannot be planned, Unplanned is raised, and the executor runs the whole operation.
"""

import dataclasses
import functools
import hashlib
import itertools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputType,
    GraphQLScalarType,
    ListValueNode,
    NoSchemaIntrospectionCustomRule,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    is_non_null_type,
    is_required_argument,
    parse,
    specified_rules,
    type_from_ast,
    validate,
    visit,
)
from graphql.pyutils import Undefined
from graphql.type import get_nullable_type
from graphql.utilities import coerce_input_literal, coerce_input_value

from progress.errors import RequestRejected
from progress.query.execution import compiled, limits
from progress.query.execution.compiled import QUERY, DirectiveValues, Field
from progress.query.graphql.schema import FIELDS, GRAPHQL, UNDECLARED

# The estimated memory of a plan, of each root field in it, and of each selected field.
_PLAN_BYTES, _ROOT_BYTES, _NODE_BYTES = 500, 4_000, 400
_MAX_VARIANTS = 16  # cached plans per operation, one per combination of @skip and @include values

Values = Mapping[str, Any]


class Unplanned(Exception):
    """The operation has no plan, such as for invalid variables; the executor must run all of it."""


class Variable(NamedTuple):
    """A variable of an operation; `default` is Undefined if the variable has no default."""

    name: str
    coerce: Callable[[Any], Any]  # not called with null; returns Undefined for an invalid value
    default: Any
    is_non_null: bool
    is_required: bool


class BoundArgument(NamedTuple):
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
    on_plan: Callable[[int], object]  # called with the memory of each cached plan, in bytes

    def __init__(
        self,
        definition: OperationDefinitionNode,
        fragments: compiled.Fragments,
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
        """Return the coerced variables; raise Unplanned if a value is invalid or missing."""
        values: dict[str, Any] = {}
        for name, coerce, default, is_non_null, is_required in self._variables:
            if sent is not None and name in sent:
                value = sent[name]
                if value is not None:
                    value = coerce(value)
                if value is Undefined or (value is None and is_non_null):
                    raise Unplanned
                values[name] = value
            elif is_required:
                raise Unplanned
            elif default is not Undefined:
                values[name] = default
        return values

    def root_fields(self, variables: Values) -> tuple[PlannedField, ...]:
        """Return the root fields that @skip and @include do not exclude, in response order."""
        values: Any = tuple(variables.get(name) for name in self._directives)
        variant = self._variants.get(values)
        if variant is None:
            if None in values:
                raise Unplanned
            variant = tuple(self._plan(dict(zip(self._directives, values, strict=True))))
            if len(self._variants) < _MAX_VARIANTS:
                self._variants[values] = variant
                fields = sum(field.measure() for field in variant)
                self.on_plan(fields + _PLAN_BYTES)
        return variant

    def count_requests(self, sent: Values | None) -> int:
        """Return as how many requests the operation counts: a mutation, one for each root field."""
        if self.kind is not OperationType.MUTATION:
            return 1
        try:
            variables = self.coerce_variables(sent)
        except Unplanned:
            return 1  # nothing will be executed
        directives = {name: bool(variables.get(name)) for name in self._directives}
        nodes = compiled.field_nodes(
            self.definition.selection_set, self._fragments, directives, set()
        )
        return len({(node.alias or node.name).value for node in nodes}) or 1

    def _plan(self, directives: DirectiveValues) -> Iterator[PlannedField]:
        selection_sets = [self.definition.selection_set]
        for field in compiled.collect_fields(selection_sets, QUERY, self._fragments, directives):
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
    fragments = (n for n in tree.definitions if isinstance(n, FragmentDefinitionNode))
    return {fragment.name.value: fragment for fragment in fragments}


def directive_variables(tree: DocumentNode) -> set[str]:
    names: set[str] = set()

    class Finder(Visitor):
        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [argument.value for argument in node.arguments or ()]
            names.update(value.name.value for value in values if isinstance(value, VariableNode))

    visit(tree, Finder())
    return names


_CACHE_BYTES = 24 << 20  # For valid documents; the cache of rejected ones is a quarter as large.
# The estimated memory of a document, of each token of a valid document, and of a rejected document.
# The memory of texts is not estimated, because a character takes 1, 2 or 4 bytes.
_DOCUMENT_BYTES, _TOKEN_BYTES, _REJECTED_BYTES = 3_000, 600, 1_000
_MAX_ERRORS = 20  # Errors reported per document.
_MAX_KEY_LENGTH = 4_096  # Characters; a longer text is cached by its hash.


Kinds = Mapping[str | None, OperationType]


class Document(msgspec.Struct, frozen=True):
    """A document to execute, or the errors of a rejected document."""

    parsed: DocumentNode | None  # None if the document has errors
    operations: tuple[Operation, ...]
    errors: list[dict[str, Any]]
    size: int  # In bytes, without the plans of the operations.
    kinds: Kinds = {}  # By operation name; known even if the validation fails.

    @property
    def tree(self) -> DocumentNode:
        """The tree of a document without errors."""
        return cast("DocumentNode", self.parsed)

    def operation(self, name: str | None) -> Operation | None:
        """Return the operation with this name, or the only operation if `name` is None."""
        if name is None:
            return self.operations[0] if len(self.operations) == 1 else None
        return next((operation for operation in self.operations if operation.name == name), None)

    def kind(self, operation_name: str | None) -> OperationType | None:
        """Return the operation's kind; None if the operation is missing or cannot be parsed."""
        if operation_name is None and len(self.kinds) == 1:
            return next(iter(self.kinds.values()))
        return self.kinds.get(operation_name)

    def is_query(self, operation_name: str | None) -> bool:
        """Return True for a query, and for an operation that is missing or cannot be parsed."""
        return self.kind(operation_name) in (None, OperationType.QUERY)


class LruCache:
    """The most recently used documents, up to a total size with the plans of their operations."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._documents: OrderedDict[object, Document] = OrderedDict()
        self._sizes: dict[object, int] = {}
        self._size = 0

    def get(self, key: object) -> Document | None:
        """Return the document and mark it as used, if it is cached."""
        document = self._documents.get(key)
        if document is not None:
            self._documents.move_to_end(key)
        return document

    def add(self, key: object, document: Document) -> None:
        """Add the document; evict the least recently used documents if the cache is too large."""
        self._documents[key] = document
        self._sizes[key] = 0
        for operation in document.operations:
            operation.on_plan = functools.partial(self._grow, key)
        self._grow(key, document.size)

    def _grow(self, key: object, size: int) -> None:
        """Count memory that a cached document has allocated."""
        if key not in self._documents:
            return
        self._sizes[key] += size
        self._size += size
        while self._size > self._max_bytes:
            evicted, _ = self._documents.popitem(last=False)
            self._size -= self._sizes.pop(evicted)


_valid, _rejected = LruCache(_CACHE_BYTES), LruCache(_CACHE_BYTES // 4)


def lookup(text: str, *, introspection: bool) -> Document | None:
    key = _key(text, introspection=introspection)
    return _valid.get(key) or _rejected.get(key)


def read(text: str, *, introspection: bool) -> Document:
    """Return the document with this text; if it is not cached, parse and cache it."""
    document = lookup(text, introspection=introspection)
    if document is None:
        document = _read(text, introspection=introspection)
        key = _key(text, introspection=introspection)
        (_rejected if document.errors else _valid).add(key, document)
    return document


def _key(text: str, *, introspection: bool) -> tuple[str | bytes, bool]:
    if len(text) < _MAX_KEY_LENGTH:
        return text, introspection
    return hashlib.sha256(text.encode()).digest(), introspection


def _read(text: str, *, introspection: bool) -> Document:
    try:
        limits.check_text(text)
        tree = parse(text)
        limits.check_tree(tree, introspection=introspection)
    except GraphQLError as error:
        return _reject([error], text)
    except RequestRejected as error:
        return _reject([GraphQLError(str(error), original_error=error)], text)
    definitions = [n for n in tree.definitions if isinstance(n, OperationDefinitionNode)]
    kinds = {(node.name.value if node.name else None): node.operation for node in definitions}
    rules = (*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,)))
    if errors := validate(GRAPHQL, tree, rules, max_errors=_MAX_ERRORS):
        return _reject(errors, text, kinds)
    variables = directive_variables(tree)
    fragments = fragments_of(tree)
    operations = tuple(Operation(node, fragments, variables) for node in definitions)
    size = _DOCUMENT_BYTES + sys.getsizeof(text) + _release_tokens(tree)
    return Document(tree, operations, [], size, kinds)


def _release_tokens(tree: DocumentNode) -> int:
    """Release the tokens that no node refers to, such as comments; return the tree's size in bytes.

    The tokens of a document refer to each other. They would keep an evicted document in memory
    until the next garbage collection.
    """
    size, token = 0, tree.loc and tree.loc.start_token
    while token:
        size += _TOKEN_BYTES + sys.getsizeof(token.value)
        following, token.prev, token.next = token.next, None, None
        token = following
    return size


def _reject(errors: Sequence[GraphQLError], text: str, kinds: Kinds | None = None) -> Document:
    formatted = [format_rejection(error) for error in errors]
    key = text if len(text) < _MAX_KEY_LENGTH else ""
    size = _REJECTED_BYTES + _measure([key, formatted, *(kinds or {})])
    return Document(None, (), formatted, size, kinds or {})


def _measure(value: object) -> int:
    """Return the size of dicts, lists and their contents, in bytes."""
    children: Iterable[object] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        children = itertools.chain(value.keys(), value.values())
    return sys.getsizeof(value) + sum(map(_measure, children))


def format_rejection(error: GraphQLError) -> dict[str, Any]:
    """Format an error that the caller caused, before or during execution."""
    cause = error.original_error
    return with_code(error, cause.code if isinstance(cause, RequestRejected) else "BAD_USER_INPUT")


def with_code(
    error: GraphQLError, code: str, message: str | None = None, **extensions: str
) -> dict[str, Any]:
    formatted: dict[str, Any] = {**error.formatted, "extensions": {"code": code, **extensions}}
    if message is not None:
        formatted["message"] = message
    return formatted
