"""SQL statements: the named blocks of the files in `sql/`, and the only templates for SQL.

A block begins with a line `-- name --`. `{file block}` stands for the text of another block, and
`{name}` for a part that the caller of `fill` gives. A part may have braces, too. `progress sql`
prints a block as the database runs it, with the place of each line.
Parameters are written `:name`. pg8000 runs a block unchanged; for asyncpg each parameter becomes
`$1`, `$2` and so on.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from progress import files

_BLOCK = re.compile(r"^-- ([a-z][a-z0-9_ ]*) --\n", re.MULTILINE)
_BRACES = re.compile(r"\{(?:([a-z0-9_/]+) ([a-z0-9_ ]+)|([a-z_][a-z0-9_]*))\}")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


class Text(NamedTuple):
    """A text that begins in a line of `sql/{file}.sql`."""

    text: str
    file: str
    line: int

    def cut(self, start: int, end: int | None = None) -> "Text":
        line = self.line + self.text.count("\n", 0, start)
        return Text(self.text[start:end], self.file, line)


@dataclass(frozen=True)
class NumberedStatement:
    """A statement for asyncpg, and its parameters' names in order."""

    text: str
    names: tuple[str, ...]
    name: str = ""  # the statement's file and block

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return the values of the parameters, in order."""
        return [values[name] for name in self.names]


@functools.cache
def blocks(file: str) -> dict[str, str]:
    """Return the blocks of `sql/{file}.sql` by name, in file order; parts stay in braces.

    `file` may also be an absolute path without `.sql`.
    """
    return {name: _join(_expand(text, {}, is_partial=True)) for name, text in parse(file).items()}


def fill(file: str, block: str, /, **parts: str) -> str:
    """Return a block with its parts; raise KeyError if one is not given."""
    return _join(_expand(parse(file)[block], parts, is_partial=False))


def trace(file: str, block: str, parts: Mapping[str, str]) -> str:
    """Return a block with the parts that are given, and with the places of its lines.

    A comment with the places precedes each line that does not follow the line before it in a file.
    """
    lines: list[tuple[str, list[tuple[str, int]]]] = [("", [])]
    for piece in _expand(parse(file)[block], parts, is_partial=True):
        for number, text in enumerate(piece.text.split("\n")):
            if number:
                lines.append(("", []))
            before, places = lines[-1]
            place = (piece.file, piece.line + number)
            is_new = text.strip() and place not in places
            lines[-1] = (before + text, [*places, place] if is_new else places)
    return "\n".join(_annotate(lines))


@functools.cache
def parse(file: str) -> dict[str, Text]:
    """Return the blocks of a file as they are written."""
    source = (files.SQL / f"{file}.sql").read_text(encoding="utf-8")
    found = [*_BLOCK.finditer(source)]
    ends = [*(match.start() for match in found), len(source)][1:]
    return {
        match[1]: _strip(Text(source, file, 1).cut(match.end(), end))
        for match, end in zip(found, ends, strict=True)
    }


def _strip(text: Text) -> Text:
    start = len(text.text) - len(text.text.lstrip())
    return text.cut(start, len(text.text.rstrip()))


def _expand(text: Text, parts: Mapping[str, str], *, is_partial: bool) -> Iterator[Text]:
    """Yield the pieces of a text; if `is_partial`, parts that are not given stay in braces."""
    end = 0
    for match in _BRACES.finditer(text.text):
        file, block, name = match.groups()
        if is_partial and name and name not in parts:
            continue
        yield text.cut(end, match.start())
        end = match.end()
        if block:
            yield from _expand(parse(file)[block], parts, is_partial=is_partial)
            continue
        place = text.cut(match.start())
        for line in parts[name].splitlines(keepends=True):  # no line of a file: all have one place
            yield from _expand(place._replace(text=line), parts, is_partial=is_partial)
    yield text.cut(end)


def _join(pieces: Iterable[Text]) -> str:
    return "".join(piece.text for piece in pieces)


def _annotate(lines: Iterable[tuple[str, list[tuple[str, int]]]]) -> Iterator[str]:
    last: list[tuple[str, int]] = []
    is_repeated = False  # the line before has the place of an earlier line: both are from a part
    for text, places in lines:
        following = [(file, line + 1) for file, line in last]
        if places and places != last and (is_repeated or places != following):
            yield "-- " + ", ".join(f"sql/{file}.sql:{line}" for file, line in places)
        yield text
        is_repeated = places == last
        last = places or following


@functools.cache
def load(file: str, name: str, /, **constants: str) -> NumberedStatement:
    """Return a block as a statement for asyncpg.

    The parameters in `constants` are replaced by their values. Even a generic plan knows these
    values, so it omits the branches that apply only to other values. The values must be
    identifiers, such as the members of an enum.
    """
    for parameter, value in constants.items():
        if not value.isidentifier():
            raise ValueError(f"expected an identifier as the value of {parameter} - found {value}")
    return number(_write_constants(blocks(file)[name], constants), f"{file} {name}")


@functools.lru_cache(maxsize=1_000)
def load_columns(file: str, name: str, columns: str) -> NumberedStatement:
    """Return a statement for asyncpg that selects `columns` from the result of a block."""
    query = blocks(file)[name].rstrip(";")
    text = fill("query/compiled", "select_columns", columns=columns, query=query)
    return number(text, f"{file} {name}")


def with_suffix(text: str, suffix: str, constants: Mapping[str, str], *, shared: str) -> str:
    """Return the text with a suffix at each parameter's name, except `shared`.

    The parameters in `constants` are replaced by their values; see `load`.
    """

    def replace(match: re.Match[str]) -> str:
        return match[0] if match[1] == shared else f"{match[0]}{suffix}"

    return _PARAMETER.sub(replace, _write_constants(text, constants))


def _write_constants(text: str, constants: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        return f"'{constants[match[1]]}'" if match[1] in constants else match[0]

    return _PARAMETER.sub(replace, text)


def number(text: str, name: str) -> NumberedStatement:
    """Return the text as a statement for asyncpg; `name` says what it is."""
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _PARAMETER.sub(replace, text)
    return NumberedStatement(text, tuple(names), name)
