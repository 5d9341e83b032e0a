"""Query limits, checked on tokens and the tree before validation.

The lexer counts tokens and nesting before a tree is built. Depth, aliases and fields of an
operation are counted as if its fragments were expanded. Each fragment is measured only once, so
that the check takes linear time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
)
from graphql.language import Lexer

from progress.errors import BadInput, QueryTooComplex
from progress.query.execution.selection import Field
from progress.query.graphql.schema import Cost

_MAX_TOKENS = 2_000
_MAX_DEPTH = 8
_MAX_ALIASES = 30
_MAX_COMPLEXITY = 20_000
_MAX_ROWS = 1_000  # Thousands of rows; see Cost.
_MAX_TEXTS = 2
_MOMENT_ROWS = 200  # Thousands of rows that the definitions read for each past moment.
_MAX_PAIRS = 2_000  # Pairs of fields that validation compares.
_MAX_INTROSPECTION = 200_000  # The standard introspection query has complexity 90,000.
_MAX_INTROSPECTION_DEPTH = 20  # The standard introspection query has depth 15.
_MAX_NESTING = 30  # Nested braces and brackets, including those of argument values.
_MAX_LEVELS = 100  # Nested fields and fragments, with fragments expanded.
_MAX_DAYS = 731  # Days of a range; arguments.check_range rejects more.
_DEFAULT_FIRST = 50  # The length of a list if its `first` is null.
_DEFAULT_ENTRIES = 7  # The assumed length of lists without `first` (domains, levels, projections).

_NESTED_LISTS = {
    "hardestItems": 200,
    "itemsFading": 200,
    "weeks": 12,
    "members": 200,  # of a list or a task
    "words": 200,
    "tasks": 20,
    "gaps": 200,
}  # The maximum length of a list inside a root field.
_INTROSPECTION_FIELDS = ("__schema", "__type")

# Estimated lengths of the lists in introspection.
_LIST_LENGTHS = {
    "types": 60,
    "fields": 12,
    "args": 4,
    "inputFields": 8,
    "enumValues": 8,
    "directives": 8,
}
_OPENING = (TokenKind.BRACE_L, TokenKind.BRACKET_L)
_CLOSING = (TokenKind.BRACE_R, TokenKind.BRACKET_R)


def check_text(text: str) -> None:
    """Raise QueryTooComplex if the text has too many tokens and comments, or is nested too deeply.

    Raise GraphQLSyntaxError for an invalid token.
    """
    lexer = Lexer(Source(text))
    tokens = nesting = end = 0
    while (token := lexer.read_next_token(end)).kind is not TokenKind.EOF:
        end = token.end
        tokens += 1
        if tokens > _MAX_TOKENS:
            raise QueryTooComplex(f"tokens: expected at most {_MAX_TOKENS} - found more")
        nesting += (token.kind in _OPENING) - (token.kind in _CLOSING)
        if nesting > _MAX_NESTING:
            raise QueryTooComplex(
                f"nested braces and brackets: expected at most {_MAX_NESTING} - found more"
            )


def check_tree(tree: DocumentNode, *, introspection: bool) -> None:
    """Raise QueryTooComplex if an operation or fragment has too many levels, aliases or fields.

    Raise BadInput if a fragment contains itself. Introspection, if enabled, has separate limits.
    """
    counter = _Counter(tree, introspection_fields=_INTROSPECTION_FIELDS if introspection else ())
    for selection_set in _selection_sets(tree, skip_introspection=introspection):
        measure = counter.measure(selection_set)
        _check("depth", measure.depth, _MAX_DEPTH)
        _check("aliases", measure.aliases, _MAX_ALIASES)
        _check("complexity", measure.fields, _MAX_COMPLEXITY)
    _check("depth of the introspection", counter.introspection.depth, _MAX_INTROSPECTION_DEPTH)
    _check("complexity of the introspection", counter.introspection.fields, _MAX_INTROSPECTION)
    pairs = _PairCounter(counter.fragments)
    for selection_set in _selection_sets(tree):
        pairs.walk([selection_set])


def _selection_sets(
    tree: DocumentNode, *, skip_introspection: bool = False
) -> Iterator[SelectionSetNode]:
    """Yield the selections of operations and fragments, or of no fragment on `__` types."""
    for node in tree.definitions:
        if isinstance(node, OperationDefinitionNode):
            yield node.selection_set
        elif isinstance(node, FragmentDefinitionNode):
            is_introspection = node.type_condition.name.value.startswith("__")
            if not (skip_introspection and is_introspection):
                yield node.selection_set


def weigh(root: Field) -> tuple[int, int]:
    """Return how many fields a root field selects outside its lists, and how many per list entry.

    The entries of a connection are its edges.
    """
    if root.is_list:
        return 0, 1 + sum(map(_count_fields, root.selections))
    lists = [field for field in root.selections if field.is_list and field.selections]
    others = [field for field in root.selections if field not in lists]
    return 1 + sum(map(_count_fields, others)), sum(map(_count_fields, lists))


def _count_fields(field: Field) -> int:
    return 1 + _count_entries(field) * sum(map(_count_fields, field.selections))


def _count_entries(field: Field) -> int:
    """Return the maximum length of a list inside a root field.

    That of a connection is its `first`, unless a variable has it.
    """
    most, declared = _NESTED_LISTS.get(field.name, 1), field.definition.args
    given = [each.value for each in field.node.arguments or () if each.name.value == "first"]
    if "first" not in declared:
        return most
    if not given:
        return int(declared["first"].default_value)
    numbers = [int(each.value) for each in given if isinstance(each, IntValueNode)]
    return max(0, min([most, *numbers]))


def count_entries(cost: Cost, arguments: Mapping[str, Any]) -> int:
    for name in ("first", "days"):
        if name in arguments:
            return max(0, min(int(arguments[name] or _DEFAULT_FIRST), _MAX_DAYS))
    if "from" in arguments:
        return 1 + (_count_days(arguments) - 1) // cost.days_per_entry
    return _DEFAULT_ENTRIES if cost.entries is None else cost.entries


def rows_to_read(cost: Cost, arguments: Mapping[str, Any]) -> int:
    """Return how many thousand rows a field may read."""
    given = {name for name, value in arguments.items() if value is not None}
    given |= {value for value in arguments.values() if isinstance(value, StrEnum)}
    extra = [rows for name, rows in cost.rows_with.items() if name in given]
    days = int(cost.rows_per_day * _count_days(arguments)) if cost.rows_per_day else 0
    return cost.rows + days + max(extra, default=0)


def rows_of_selections(rows_of: Mapping[str, int], root: Field) -> tuple[int, int]:
    """Return how many thousand rows a root field's selections may read in addition.

    The second number is that of a connection's nodes, for each entry.
    """
    nodes = [node for edge in root.selections if edge.is_list for node in edge.selections]
    selected = (root.selections, [field for node in nodes for field in node.selections])
    once, each = (sum(rows_of.get(field.name, 0) for field in fields) for fields in selected)
    return once, each


def _count_days(arguments: Mapping[str, Any]) -> int:
    days: int = (arguments["to"] - arguments["from"]).days
    return 1 + max(0, min(days, _MAX_DAYS))


def moment_key(learner: str | None, arguments: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Return the learner and the past times that a field asks about; None for the present."""
    if not (arguments.get("asOf") or arguments.get("knownAt")):
        return None
    return learner, arguments.get("asOf"), arguments.get("knownAt")


def check_complexity(count: int) -> None:
    """Raise QueryTooComplex if the response may contain too many fields.

    A field of a list counts once per entry.
    """
    _check("complexity", count, _MAX_COMPLEXITY)


def check_texts(count: int) -> None:
    """Raise QueryTooComplex if an operation asks about too many texts."""
    _check("fields coverage", count, _MAX_TEXTS)


def check_rows(count: int, moments: int) -> None:
    """Raise QueryTooComplex if an operation may read too many rows; `count` is in thousands.

    `moments` is the number of pairs of a learner and a past moment.
    """
    _check("rows to read, in thousands", count + _MOMENT_ROWS * moments, _MAX_ROWS)


def _check(name: str, count: int, maximum: int) -> None:
    if count > maximum:
        raise QueryTooComplex(f"{name}: expected at most {maximum} - found {count}")


class _Measure(msgspec.Struct, frozen=True):
    """The size of a selection with its fragments expanded."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def plus(self, other: "_Measure") -> "_Measure":
        depth = max(self.depth, other.depth)
        return _Measure(depth, self.aliases + other.aliases, self.fields + other.fields)


_NONE = _Measure()


class _Counter:
    """A counter that measures each fragment once, and counts introspection fields separately."""

    def __init__(self, tree: DocumentNode, *, introspection_fields: Sequence[str]) -> None:
        self.fragments = {
            node.name.value: node.selection_set
            for node in tree.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self.introspection = _Measure()
        self._introspection_fields = introspection_fields
        self._measures: dict[str, _Measure | None] = {}  # None while a fragment is measured
        self._level = 0

    def measure(self, selection_set: SelectionSetNode | None) -> _Measure:
        if selection_set is None:
            return _NONE
        self._level += 1
        if self._level > _MAX_LEVELS:
            found = f"found more than {_MAX_LEVELS} nested levels"
            raise QueryTooComplex(f"depth: expected at most {_MAX_DEPTH} - {found}")
        total = _NONE
        for node in selection_set.selections:
            total = total.plus(self._node(node))
        self._level -= 1
        return total

    def _node(self, node: SelectionNode) -> _Measure:
        if isinstance(node, FieldNode):
            return self._field(node)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value)
        return self.measure(node.selection_set) if isinstance(node, InlineFragmentNode) else _NONE

    def _field(self, node: FieldNode) -> _Measure:
        inner = self.measure(node.selection_set)
        aliases = inner.aliases + (node.alias is not None)
        if node.name.value in self._introspection_fields:
            self.introspection = self.introspection.plus(inner)
            return _Measure(1, aliases, 1)
        entries = _LIST_LENGTHS.get(node.name.value, 1) if node.selection_set else 1
        return _Measure(inner.depth + 1, aliases, entries * (1 + inner.fields))

    def _fragment(self, name: str) -> _Measure:
        if name not in self.fragments:
            return _NONE  # validation reports the unknown fragment
        if name not in self._measures:
            self._measures[name] = None
            self._measures[name] = self.measure(self.fragments[name])
        measure = self._measures[name]
        if measure is None:
            raise BadInput(f'Cannot spread fragment "{name}" within itself.')
        return measure


class _PairCounter:
    """A counter of the pairs of fields with the same path, which validation compares."""

    def __init__(self, fragments: dict[str, SelectionSetNode]) -> None:
        self._fragments = fragments
        self._nodes = self._pairs = 0

    def walk(self, selection_sets: Iterable[SelectionSetNode]) -> None:
        """Add the pairs below these selections; raise QueryTooComplex if the total is too large."""
        fields: dict[str, list[SelectionSetNode | None]] = {}
        for node in self._fields(selection_sets, set()):
            fields.setdefault((node.alias or node.name).value, []).append(node.selection_set)
        for same in fields.values():
            self._pairs += len(same) * (len(same) - 1) // 2
            _check("pairs of equal fields", self._pairs, _MAX_PAIRS)
            self.walk([selection_set for selection_set in same if selection_set])

    def _fields(
        self, selection_sets: Iterable[SelectionSetNode], expanded: set[str]
    ) -> Iterator[FieldNode]:
        for node in (node for inner in selection_sets for node in inner.selections):
            self._nodes += 1
            _check("complexity", self._nodes, _MAX_COMPLEXITY)
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields([node.selection_set], expanded)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in expanded:
                expanded.add(node.name.value)
                if fragment := self._fragments.get(node.name.value):
                    yield from self._fields([fragment], expanded)
