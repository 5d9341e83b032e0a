"""How much a document may ask, counted before it is validated: each bomb is refused unexploded.

Tokens and nesting are counted by the lexer, before there is a tree. Depth, aliases and fields are
those of an operation with its fragments written out; each fragment is counted once, so that the
counting does not grow as what is counted does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
)
from graphql.language import Lexer

from progress.errors import BadInput, QueryTooComplex
from progress.query.execution.selections import Field

_TOKENS = 2_000
_DEPTH = 8
_ALIASES = 30
_COMPLEXITY = 20_000
_READING = 1_000  # thousands of rows that are read, see _READS
_REPEATS = 2_000  # pairs of fields that validation compares
_INTROSPECTION = 200_000  # of complexity: the usual question has 90,000 of it and is 15 deep
_INTROSPECTION_DEPTH = 20
_NESTING = 30  # braces and brackets within each other, values included
_LEVELS = 100  # of fields and fragments within each other, where these are written out
_DAYS = 731  # more are refused
_DAYS_EACH = {"weeklyStats": 7, "monthlyStats": 28}
_FIRST = 50  # where a list's length is null, which stands for its default
_ENTRIES = 7  # of a list without a length: domains, levels, projections

# What a field of the query reads, in thousands of rows, about a learner with 200,000 events and
# 20,000 items; and what it reads more with an argument. bench/expensive.py measures it.
_READS = {
    "userProgress": 30,
    "monthlyStats": 100,
    "itemStats": 45,
    "dueForecast": 75,
    "deadLetters": 50,
    "projectionStatus": 30,
}
_READS_MORE = {
    "userProgress": {"asOf": 70, "knownAt": 70},
    "itemStats": {"level": 55, "domain": 55},
    "events": {"types": 200},
}
_READS_A_DAY = {"monthlyStats": 1 / 7}  # of the range

_INTROSPECTED = ("__schema", "__type")

# How many entries the lists of the introspection have, roughly.
_LISTS = {"types": 60, "fields": 12, "args": 4, "inputFields": 8, "enumValues": 8, "directives": 8}
_OPENING = (TokenKind.BRACE_L, TokenKind.BRACKET_L)
_CLOSING = (TokenKind.BRACE_R, TokenKind.BRACKET_R)


def check_text(text: str) -> int:
    """How many tokens a document has, comments included; QueryTooComplex where that is too many.

    GraphQLSyntaxError where one of them is none.
    """
    lexer = Lexer(Source(text))
    tokens = nesting = end = 0
    while (token := lexer.read_next_token(end)).kind is not TokenKind.EOF:
        end = token.end
        tokens += 1
        if tokens > _TOKENS:
            raise QueryTooComplex(f"tokens: expected at most {_TOKENS} - found more")
        nesting += (token.kind in _OPENING) - (token.kind in _CLOSING)
        if nesting > _NESTING:
            raise QueryTooComplex(f"depth: expected at most {_DEPTH} - found more than {_NESTING}")
    return tokens


def check_tree(tree: DocumentNode, *, introspection: bool) -> None:
    """QueryTooComplex where an operation or a fragment is too deep, has too many aliases or fields.

    BadInput where a fragment contains itself. Introspection that is on is counted apart.
    """
    counter = _Counter(tree, apart=_INTROSPECTED if introspection else ())
    for each in _selections(tree, ordinary=introspection):
        found = counter.measured(each)
        _check("depth", found.depth, _DEPTH)
        _check("aliases", found.aliases, _ALIASES)
        _check("complexity", found.fields, _COMPLEXITY)
    _check("depth of the introspection", counter.introspection.depth, _INTROSPECTION_DEPTH)
    _check("complexity of the introspection", counter.introspection.fields, _INTROSPECTION)
    merged = _Merged(counter.fragments)
    for each in _selections(tree):
        merged.walk([each])


def _selections(tree: DocumentNode, *, ordinary: bool = False) -> Iterator[SelectionSetNode]:
    """Those of the operations and fragments, with `ordinary` without fragments of introspection."""
    for each in tree.definitions:
        if not isinstance(each, (OperationDefinitionNode, FragmentDefinitionNode)):
            continue
        about = "" if isinstance(each, OperationDefinitionNode) else each.type_condition.name.value
        if not (ordinary and about.startswith("__")):
            yield each.selection_set


def weight(root: Field) -> tuple[int, int]:
    """How many fields a field of the query has of itself, and with each entry of its list."""
    if root.is_many:
        return 0, 1 + sum(map(_fields, root.inside))
    listed = sum(_fields(each) for each in root.inside if each.name == "edges")
    return 1 + sum(_fields(each) for each in root.inside if each.name != "edges"), listed


def _fields(field: Field) -> int:
    return 1 + sum(map(_fields, field.inside))


def entries(name: str, arguments: Mapping[str, Any] | None) -> int:
    """How many entries the list of a field of the query may have; None: the most of any."""
    if arguments is None:
        return _DAYS
    if "from" in arguments:
        days: int = (arguments["to"] - arguments["from"]).days
        return 1 + max(0, min(days, _DAYS)) // _DAYS_EACH.get(name, 1)
    for asked in ("first", "days"):
        if asked in arguments:
            return max(0, min(int(arguments[asked] or _FIRST), _DAYS))
    return _ENTRIES


def reading(name: str, arguments: Mapping[str, Any] | None) -> int:
    """How much a field of the query may read, in thousands of rows; None: with the most of any."""
    more = _READS_MORE.get(name, {})
    given = [each for each in more if arguments is None or arguments.get(each) is not None]
    days = _READS_A_DAY[name] * entries("", arguments) if name in _READS_A_DAY else 0
    return _READS.get(name, 1) + int(days) + max((more[each] for each in given), default=0)


def fold(arguments: Mapping[str, Any] | None) -> tuple[object, ...] | None:
    """The learner and the moments that a field about the past is about; None for the present."""
    if not arguments or not (arguments.get("asOf") or arguments.get("knownAt")):
        return None
    return arguments.get("userId"), arguments.get("asOf"), arguments.get("knownAt")


def check_complexity(found: int) -> None:
    """Raise QueryTooComplex if an operation's fields, times their list sizes, are too many."""
    _check("complexity", found, _COMPLEXITY)


def check_reading(found: int) -> None:
    """QueryTooComplex where an operation's fields may read too much."""
    _check("rows to read, in thousands", found, _READING)


def _check(what: str, found: int, most: int) -> None:
    if found > most:
        raise QueryTooComplex(f"{what}: expected at most {most} - found {found}")


class _Measure(msgspec.Struct, frozen=True):
    """Of a selection, its fragments written out."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "_Measure") -> "_Measure":
        deeper = max(self.depth, other.depth)
        return _Measure(deeper, self.aliases + other.aliases, self.fields + other.fields)


_NONE = _Measure()


class _Counter:
    """Measures selections, each fragment once."""

    def __init__(self, tree: DocumentNode, *, apart: Sequence[str]) -> None:
        self.fragments = {
            each.name.value: each.selection_set
            for each in tree.definitions
            if isinstance(each, FragmentDefinitionNode)
        }
        self.introspection = _Measure()
        self._apart = apart
        self._known: dict[str, _Measure | None] = {}  # None: it is being measured
        self._level = 0

    def measured(self, selection: SelectionSetNode | None) -> _Measure:
        if selection is None:
            return _Measure()
        self._level += 1
        if self._level > _LEVELS:
            raise QueryTooComplex(f"depth: expected at most {_DEPTH} - found more than {_LEVELS}")
        found = _Measure()
        for node in selection.selections:
            found = found.beside(self._node(node))
        self._level -= 1
        return found

    def _node(self, node: SelectionNode) -> _Measure:
        if isinstance(node, FieldNode):
            return self._field(node)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value)
        return self.measured(node.selection_set) if isinstance(node, InlineFragmentNode) else _NONE

    def _field(self, node: FieldNode) -> _Measure:
        inside = self.measured(node.selection_set)
        aliases = inside.aliases + (node.alias is not None)
        if node.name.value in self._apart:
            self.introspection = self.introspection.beside(inside)
            return _Measure(1, aliases, 1)
        entries = _LISTS.get(node.name.value, 1) if node.selection_set else 1
        return _Measure(inside.depth + 1, aliases, entries * (1 + inside.fields))

    def _fragment(self, name: str) -> _Measure:
        if name not in self.fragments:
            return _NONE  # validation will say so
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self.measured(self.fragments[name])
        found = self._known[name]
        if found is None:
            raise BadInput(f'Cannot spread fragment "{name}" within itself.')
        return found


class _Merged:
    """Counts the fields that validation compares: those of one place that share a response key."""

    def __init__(self, fragments: dict[str, SelectionSetNode]) -> None:
        self._fragments = fragments
        self._seen = self._pairs = 0

    def walk(self, selections: Iterable[SelectionSetNode]) -> None:
        """QueryTooComplex where they are too many, in all that is walked."""
        fields: dict[str, list[SelectionSetNode | None]] = {}
        for node in self._fields(selections, set()):
            fields.setdefault((node.alias or node.name).value, []).append(node.selection_set)
        for same in fields.values():
            self._pairs += len(same) * (len(same) - 1) // 2
            _check("pairs of equal fields", self._pairs, _REPEATS)
            self.walk([each for each in same if each])

    def _fields(
        self, selections: Iterable[SelectionSetNode], spread: set[str]
    ) -> Iterator[FieldNode]:
        for node in (node for each in selections for node in each.selections):
            self._seen += 1
            _check("complexity", self._seen, _COMPLEXITY)
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields([node.selection_set], spread)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                if inside := self._fragments.get(node.name.value):
                    yield from self._fields([inside], spread)
