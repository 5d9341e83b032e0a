"""SQL statements: the named blocks of the files in `sql/`.

A block begins with a line `-- name --`. `{file block}` stands for the text of another block.
Parameters are written `:name`. pg8000 runs a block unchanged; for asyncpg each parameter becomes
`$1`, `$2` and so on.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SQL = Path(__file__).resolve().parents[3] / "sql"

_BLOCK = re.compile(r"^-- ([a-z][a-z0-9_ ]*) --\n", re.MULTILINE)
_INCLUDE = re.compile(r"\{([a-z_/]+) ([a-z_]+)\}")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


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
    """Return the blocks of `sql/{file}.sql` by name, in file order.

    `file` may also be an absolute path without `.sql`.
    """
    return {name: _expand(text) for name, text in _split(file).items()}


@functools.cache
def _split(file: str) -> dict[str, str]:
    parts = _BLOCK.split((SQL / f"{file}.sql").read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _expand(text: str) -> str:
    return _INCLUDE.sub(lambda match: _expand(_split(match[1])[match[2]]), text)


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
    return _number_parameters(blocks(file)[name], f"{file} {name}", constants)


@functools.lru_cache(maxsize=1_000)
def load_columns(file: str, name: str, columns: str, select: str) -> NumberedStatement:
    """Return a statement for asyncpg that selects `columns` from the result of a block.

    `select` is the statement's text. In this text, `{columns}` stands for the columns and `{query}`
    for the block.
    """
    text = select.replace("{columns}", columns)
    text = text.replace("{query}", blocks(file)[name].rstrip(";"))
    return _number_parameters(text, f"{file} {name}", {})


def _number_parameters(text: str, name: str, constants: Mapping[str, str]) -> NumberedStatement:
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[1] in constants:
            return f"'{constants[match[1]]}'"
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _PARAMETER.sub(replace, text)
    return NumberedStatement(text, tuple(names), name)
