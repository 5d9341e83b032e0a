"""Documents, cached by text: each is checked, parsed and validated once.

A document remembers the plans of its operations, and what it has prepared for variables. Most
requests have the variables of others: the page's are two dates. Rejected documents are cached with
their formatted errors, so that repeated attacks cost little.
"""

import functools
import hashlib
import itertools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from graphql import (
    DocumentNode,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    parse,
    specified_rules,
    validate,
    visit,
)

from progress.errors import QueryTooComplex, RequestRejected
from progress.query.execution import fields, limits
from progress.query.execution.executor import FieldExecutor
from progress.query.execution.fields import CoercedField, PlannedField
from progress.query.graphql.schema import GRAPHQL

_CACHE_BYTES = 24 << 20  # For valid documents; the cache of rejected ones is a quarter as large.
# The estimated memory of a document, of each token of a valid document, and of a rejected document.
# The memory of texts is not estimated, because a character takes 1, 2 or 4 bytes.
_DOCUMENT_BYTES, _TOKEN_BYTES, _REJECTED_BYTES = 3_000, 600, 1_000
_MAX_ERRORS = 20  # Errors reported per document.
_MAX_KEY_LENGTH = 4_096  # Characters; a longer text is cached by its hash.


_MAX_PLANS = 16  # cached plans of a document, one per operation and values of @skip and @include
_MAX_PREPARED = 16  # operations of a document with their variables
_MAX_VARIABLES = 2_000  # Bytes; operations with larger variables are not remembered.
# The estimated memory of a plan without its fields, of a prepared operation, and of each of its
# fields and variables.
_PLAN_BYTES, _PREPARED_BYTES, _COERCED_BYTES = 500, 6_000, 500

Kinds = Mapping[str | None, OperationType]
Variables = dict[str, Any]
FieldPlan = tuple[PlannedField, ...]


class Rejected(Exception):
    """The request was rejected before execution; `errors` are formatted."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__()
        self.errors = errors

    @classmethod
    def of(cls, errors: Sequence[GraphQLError]) -> "Rejected":
        return cls([format_rejection(error) for error in errors])


class Prepared(NamedTuple):
    """An operation with its variables, for every caller: `executor` has no context."""

    executor: FieldExecutor
    plan: FieldPlan
    coerced: Sequence[CoercedField]


class Document(msgspec.Struct):
    """A document to execute, or the errors of a rejected document."""

    parsed: DocumentNode | None  # None if the document has errors
    errors: list[dict[str, Any]]
    size: int  # In bytes, without what it remembers.
    kinds: Kinds = {}  # By operation name; known even if the validation fails.
    conditions: tuple[str, ...] = ()  # The names of all variables in @skip and @include.
    on_growth: Callable[[int], object] = lambda _: None  # Called with the bytes of what it keeps.
    plans: dict[object, FieldPlan] = {}
    prepared: dict[object, Prepared] = {}

    def prepare(self, variables: Variables | None, operation_name: str | None) -> Prepared:
        """Return the operation with its variables.

        Raise Rejected if the document has errors or lacks the operation, if a variable is invalid,
        or if a query costs too much.
        """
        values = variables or {}
        # 1, 1.0 and true are equal in Python.
        key = (operation_name, *values.items(), *map(type, values.values()))
        try:
            prepared = self.prepared.get(key)
        except TypeError:  # lists and objects have no hash
            return self._prepare(variables, operation_name)
        if prepared is None:
            prepared = self._prepare(variables, operation_name)
            if sum(map(sys.getsizeof, itertools.chain(*values.items()))) <= _MAX_VARIABLES:
                self._remember(key, prepared)
        return prepared

    def _prepare(self, variables: Variables | None, operation_name: str | None) -> Prepared:
        if self.parsed is None:
            raise Rejected(self.errors)
        executor = FieldExecutor.build(
            GRAPHQL,
            self.parsed,
            raw_variable_values=variables,
            operation_name=operation_name,
        )
        if isinstance(executor, list):
            raise Rejected.of(executor)
        executor = cast("FieldExecutor", executor)
        plan = self._plan(executor)
        coerced = fields.coerce(plan, executor.variable_values)
        if executor.operation.operation is OperationType.QUERY:
            try:
                fields.check_cost(coerced)
            except QueryTooComplex as error:
                raise Rejected.of([GraphQLError(str(error), original_error=error)]) from None
        return Prepared(executor, plan, coerced)

    def _remember(self, key: object, prepared: Prepared) -> None:
        if all(plan is not prepared.plan for plan in self.plans.values()):
            return  # The memory of the plan is not counted.
        if len(self.prepared) == _MAX_PREPARED:
            oldest = self.prepared.pop(next(iter(self.prepared)))
            self.on_growth(-_measure_prepared(oldest))
        self.prepared[key] = prepared
        self.on_growth(_measure_prepared(prepared))

    def _plan(self, executor: FieldExecutor) -> FieldPlan:
        """Return the planned fields of the executor's operation, if possible from `plans`."""
        operation, values = executor.operation, executor.variable_values.coerced
        # In another operation, a variable of the same name may have another type.
        conditions = [
            value if isinstance(value := values.get(name), bool) else None
            for name in self.conditions
        ]
        key = (operation.name and operation.name.value, *conditions)
        plan = self.plans.get(key)
        if plan is None:
            plan = fields.plan(executor)
            if len(self.plans) < _MAX_PLANS:
                self.plans[key] = plan
                self.on_growth(_PLAN_BYTES + sum(field.size for field in plan))
        return plan

    def kind(self, operation_name: str | None) -> OperationType | None:
        """Return the operation's kind; None if the operation is missing or cannot be parsed."""
        if operation_name is None and len(self.kinds) == 1:
            return next(iter(self.kinds.values()))
        return self.kinds.get(operation_name)

    def is_query(self, operation_name: str | None) -> bool:
        """Return True for a query, and for an operation that is missing or cannot be parsed."""
        return self.kind(operation_name) in (None, OperationType.QUERY)


def _measure_prepared(prepared: Prepared) -> int:
    variables = prepared.executor.variable_values.sources
    return _PREPARED_BYTES + _COERCED_BYTES * (len(prepared.coerced) + len(variables))


class LruCache:
    """The most recently used documents, up to a total size with what they remember."""

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
        document.on_growth = functools.partial(self._grow, key)
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
    size = _DOCUMENT_BYTES + sys.getsizeof(text) + _release_tokens(tree)
    return Document(tree, [], size, kinds, _condition_variables(tree))


def _condition_variables(tree: DocumentNode) -> tuple[str, ...]:
    names: set[str] = set()

    class Finder(Visitor):
        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [argument.value for argument in node.arguments or ()]
            names.update(value.name.value for value in values if isinstance(value, VariableNode))

    visit(tree, Finder())
    return tuple(sorted(names))


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
    return Document(None, formatted, size, kinds or {})


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
