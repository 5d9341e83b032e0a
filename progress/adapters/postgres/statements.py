"""The named blocks of the files in `sql/`, by name.

A block begins with a line `-- name --`. Values are written `:name`. pg8000 takes the block
as it is; asyncpg takes it with `$1` for each name.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SQL = Path(__file__).resolve().parents[3] / "sql"

_BLOCK = re.compile(r"^-- ([a-z][a-z0-9_ ]*) --\n", re.MULTILINE)
_VALUE = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


@dataclass(frozen=True)
class Numbered:
    """A statement for asyncpg, and the names of its values in their order."""

    text: str
    names: tuple[str, ...]
    name: str = ""  # of its file and block

    def given(self, values: Mapping[str, object]) -> list[object]:
        """Its values in their order, out of those by name."""
        return [values[each] for each in self.names]


@functools.cache
def blocks(file: str) -> dict[str, str]:
    """The blocks of `sql/{file}.sql` by name, in the order of the file; an absolute path is one."""
    parts = _BLOCK.split((SQL / f"{file}.sql").read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@functools.cache
def numbered(file: str, name: str) -> Numbered:
    """A block with `$1`, `$2` … in place of `:name`."""
    return _numbered(blocks(file)[name], f"{file} {name}")


@functools.lru_cache(maxsize=1_000)
def narrowed(file: str, name: str, columns: str, *, versioned: bool) -> Numbered:
    """The same, of a question of which only these columns are asked."""
    text = blocks("query/answers")["versioned" if versioned else "narrowed"]
    text = text.replace("{columns}", columns)
    text = text.replace("{question}", blocks(file)[name].rstrip(";"))
    return _numbered(text, f"{file} {name}")


def _numbered(text: str, name: str) -> Numbered:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _VALUE.sub(number, text)
    return Numbered(text, tuple(names), name)
