"""Documents of GraphQL, read once each: limited, parsed, validated, planned; kept by their text.

What was refused is kept as well, as the errors that are answered, so that a bomb costs once.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)

from progress.errors import RequestRejected
from progress.query.execution import errors as graphql_errors
from progress.query.execution import limits, plans
from progress.query.execution.plans import Operation
from progress.query.execution.selections import GRAPHQL

_LARGEST = 24 << 20  # bytes of all documents that are kept, and of all refusals a quarter of it
_TOKEN = 1_000  # bytes that a token becomes in a tree with its plan, roughly
_ERRORS = 20  # told of one document
_SHORT = 4_096  # characters of a text that is its own key


Kinds = Mapping[str | None, OperationType]


class Document(msgspec.Struct, frozen=True):
    """A document that may be executed, unless it has errors."""

    tree: DocumentNode | None
    operations: tuple[Operation, ...]
    errors: list[dict[str, Any]]
    size: int  # in bytes
    kinds: Kinds = {}  # by operation, also of one that has errors

    @property
    def whole(self) -> DocumentNode:
        """The tree, of a document that has no errors."""
        return cast("DocumentNode", self.tree)

    def operation(self, name: str | None) -> Operation | None:
        """The operation of that name, the only one where none is given; None if there is none."""
        if name is None:
            return self.operations[0] if len(self.operations) == 1 else None
        return next((each for each in self.operations if each.name == name), None)

    def kind(self, operation_name: str | None) -> OperationType | None:
        """What the operation is, be it good or not; None where there is none."""
        if operation_name is None and len(self.kinds) == 1:
            return next(iter(self.kinds.values()))
        return self.kinds.get(operation_name)

    def is_query(self, operation_name: str | None) -> bool:
        """Whether it only reads; true also for what is not understood: the answer will say."""
        return self.kind(operation_name) in (None, OperationType.QUERY)


class Shelf:
    """The documents that were read last, up to a size."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._documents: OrderedDict[object, Document] = OrderedDict()
        self._size = 0

    def found(self, key: object) -> Document | None:
        """The document, if it is kept; it stays for longer now."""
        document = self._documents.get(key)
        if document is not None:
            self._documents.move_to_end(key)
        return document

    def keep(self, key: object, document: Document) -> None:
        """Keep it, and let go of those that were not asked for since long."""
        self._documents[key] = document
        self._size += document.size
        while self._size > self._largest:
            self._size -= self._documents.popitem(last=False)[1].size


_good, _refused = Shelf(_LARGEST), Shelf(_LARGEST // 4)


def known(text: str, *, introspection: bool) -> Document | None:
    """The document of that text, if it was read before and is kept."""
    key = _key(text, introspection=introspection)
    return _good.found(key) or _refused.found(key)


def read(text: str, *, introspection: bool) -> Document:
    """The document of that text."""
    found = known(text, introspection=introspection)
    if found is None:
        found = _read(text, introspection=introspection)
        key = _key(text, introspection=introspection)
        (_refused if found.errors else _good).keep(key, found)
    return found


def _key(text: str, *, introspection: bool) -> tuple[str | bytes, bool]:
    if len(text) < _SHORT:
        return text, introspection
    return hashlib.sha256(text.encode()).digest(), introspection


def _read(text: str, *, introspection: bool) -> Document:
    try:
        tokens = limits.check_text(text)
        tree = parse(text)
        limits.check_tree(tree, introspection=introspection)
    except GraphQLError as fault:
        return _refusal([fault], text)
    except RequestRejected as fault:
        return _refusal([GraphQLError(str(fault), original_error=fault)], text)
    found = [n for n in tree.definitions if isinstance(n, OperationDefinitionNode)]
    kinds = {(each.name.value if each.name else None): each.operation for each in found}
    rules = (*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,)))
    if wrong := validate(GRAPHQL, tree, rules, max_errors=_ERRORS):
        return _refusal(wrong, text, kinds)
    switches = plans.switches(tree)
    operations = tuple(Operation(each, tree, switches) for each in found)
    size = 2 * len(text) + tokens * _TOKEN
    return Document(tree, operations, [], size, kinds)


def _refusal(found: Sequence[GraphQLError], text: str, kinds: Kinds | None = None) -> Document:
    errors = [graphql_errors.refused(each) for each in found]
    size = min(len(text), _SHORT) + len(orjson.dumps(errors)) * 2 + 2_000
    return Document(None, (), errors, size, kinds or {})
