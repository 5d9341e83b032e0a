"""Documents, cached by text: each is checked, parsed and validated once.

A document remembers the plans of its operations, and what it has prepared for variables. Most
requests have the variables of others: the page's are two dates.
"""

import itertools
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
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
from progress.query.execution.fields import PlannedField, RequestedField
from progress.query.graphql.schema import GRAPHQL

# The tokens of all cached documents. With what is remembered for it, a token takes at most 2 kB.
_MAX_TOKENS = 16_000
_LEAST_TOKENS = 100  # so many count for a shorter document
_MAX_LENGTH = 16_384  # characters; a longer text is not cached
_MAX_ERRORS = 20  # Errors reported per document.

_MAX_PLANS = 4  # cached plans of a document, one per operation and values of @skip and @include
_MAX_PREPARED = 16  # operations of a document with their variables
_MAX_VARIABLES = 2_000  # Bytes; operations with larger variables are not remembered.

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
    coerced: Sequence[RequestedField]
    depends_on_groups: bool  # whether their size decides if it costs too much


class Document(msgspec.Struct):
    """A document to execute, or the errors of a rejected document."""

    parsed: DocumentNode | None  # None if the document has errors
    errors: list[dict[str, Any]]
    kinds: Kinds = {}  # By operation name; known even if the validation fails.
    conditions: tuple[str, ...] = ()  # The names of all variables in @skip and @include.
    tokens: int = 0
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
        depends_on_groups = False
        if executor.operation.operation is OperationType.QUERY:
            try:
                fields.check_cost(coerced)
            except QueryTooComplex as error:
                depends_on_groups = bool(fields.groups_of(coerced))
                if not depends_on_groups:
                    raise Rejected.of([GraphQLError(str(error), original_error=error)]) from None
        return Prepared(executor, plan, coerced, depends_on_groups)

    def _remember(self, key: object, prepared: Prepared) -> None:
        if all(plan is not prepared.plan for plan in self.plans.values()):
            return  # it would keep a further plan
        if len(self.prepared) == _MAX_PREPARED:
            del self.prepared[next(iter(self.prepared))]
        self.prepared[key] = prepared

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
        return plan

    def kind(self, operation_name: str | None) -> OperationType | None:
        """Return the operation's kind; None if the operation is missing or cannot be parsed."""
        if operation_name is None and len(self.kinds) == 1:
            return next(iter(self.kinds.values()))
        return self.kinds.get(operation_name)

    def is_query(self, operation_name: str | None) -> bool:
        """Return True for a query, and for an operation that is missing or cannot be parsed."""
        return self.kind(operation_name) in (None, OperationType.QUERY)


class Cache:
    """The most recently used valid documents, up to a number of tokens."""

    def __init__(self, max_tokens: int = _MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._documents: OrderedDict[tuple[str, bool], Document] = OrderedDict()
        self._tokens = 0

    def get(self, text: str, *, introspection: bool) -> Document | None:
        document = self._documents.get((text, introspection))
        if document is not None:
            self._documents.move_to_end((text, introspection))
        return document

    def add(self, text: str, document: Document, *, introspection: bool) -> None:
        """Add the document; evict the least recently used ones beyond the limit."""
        self._documents[text, introspection] = document
        self._tokens += document.tokens
        while self._tokens > self._max_tokens:
            _, evicted = self._documents.popitem(last=False)
            self._tokens -= evicted.tokens


_cache = Cache()


def lookup(text: str, *, introspection: bool) -> Document | None:
    return _cache.get(text, introspection=introspection)


def read(text: str, *, introspection: bool) -> Document:
    document = lookup(text, introspection=introspection)
    if document is None:
        document = _read(text, introspection=introspection)
        if not document.errors and len(text) <= _MAX_LENGTH:
            _cache.add(text, document, introspection=introspection)
    return document


def _read(text: str, *, introspection: bool) -> Document:
    try:
        limits.check_text(text)
        tree = parse(text)
        limits.check_tree(tree, introspection=introspection)
    except GraphQLError as error:
        return _reject([error])
    except RequestRejected as error:
        return _reject([GraphQLError(str(error), original_error=error)])
    definitions = [n for n in tree.definitions if isinstance(n, OperationDefinitionNode)]
    kinds = {(node.name.value if node.name else None): node.operation for node in definitions}
    rules = (*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,)))
    if errors := validate(GRAPHQL, tree, rules, max_errors=_MAX_ERRORS):
        return _reject(errors, kinds)
    tokens = max(_LEAST_TOKENS, _release_tokens(tree))
    return Document(tree, [], kinds, _condition_variables(tree), tokens)


def _condition_variables(tree: DocumentNode) -> tuple[str, ...]:
    names: set[str] = set()

    class Finder(Visitor):
        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [argument.value for argument in node.arguments or ()]
            names.update(value.name.value for value in values if isinstance(value, VariableNode))

    visit(tree, Finder())
    return tuple(sorted(names))


def _release_tokens(tree: DocumentNode) -> int:
    """Release the tokens that no node refers to, such as comments; return the number of tokens.

    The tokens of a document refer to each other. They would keep an evicted document in memory
    until the next garbage collection.
    """
    count, token = 0, tree.loc and tree.loc.start_token
    while token:
        count += 1
        following, token.prev, token.next = token.next, None, None
        token = following
    return count


def _reject(errors: Sequence[GraphQLError], kinds: Kinds | None = None) -> Document:
    return Document(None, [format_rejection(error) for error in errors], kinds or {})


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
