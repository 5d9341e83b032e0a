"""Rows of a CSV file, whose errors name the file, the row and the column."""

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from progress.errors import ReviewLogError

_MAX_BYTES = 256 << 20  # about six million answers
_SHORTENED = r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+"
_ID = re.compile(rf"(?!{_SHORTENED}\Z)[^\0]{{1,200}}")
_ID_RULE = "1 to 200 characters, no number that a spreadsheet has shortened"


class Row(msgspec.Struct, frozen=True):
    """The cells of a row, with the places of the columns, and the number of the row's line."""

    cells: list[str]
    columns: dict[str, int]
    line: int

    def read(self, column: str, parse: Callable[[str], Any], expected: str) -> Any:
        """Return the parsed cell; raise ReviewLogError if it is missing, or no such value."""
        try:
            return parse(self.cells[self.columns[column]].strip())
        except (ValueError, OverflowError):
            text = self.cells[self.columns[column]][:40]
            raise self.error(column, f"{expected}, found {text!r}") from None
        except IndexError:
            raise self.error(column, f"{expected}, found nothing") from None

    def find(self, column: str, parse: Callable[[str], Any], expected: str) -> Any:
        """Return the parsed cell; None if it is empty, or there is no such column."""
        if column in self.columns:
            return self.read(column, lambda text: parse(text) if text else None, expected)
        return None

    def read_id(self, column: str) -> str:
        return str(self.read(column, partial(match, _ID), _ID_RULE))

    def find_id(self, column: str) -> str | None:
        found: str | None = self.find(column, partial(match, _ID), _ID_RULE)
        return found

    def find_text(self, column: str, longest: int) -> str | None:
        """Return the text of a cell that has no control characters."""
        plain = re.compile(rf"[^\x00-\x1f\x7f-\x9f]{{1,{longest}}}")
        rule = f"at most {longest} characters, no control characters"
        found: str | None = self.find(column, partial(match, plain), rule)
        return found

    def error(self, column: str, expected: str) -> ReviewLogError:
        return _error(self.line, column, expected)


@contextlib.contextmanager
def name_file(file: Path) -> Iterator[None]:
    """Raise the errors of reading a file as ReviewLogError that begins with the file."""
    try:
        yield
    except OSError as error:
        raise ReviewLogError(f"{file}: {error.strerror or error}") from None
    except ReviewLogError as error:
        raise ReviewLogError(f"{file}: {error}") from None


def match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def read(
    file: Path, required: Sequence[str], optional: Sequence[str], *, may_be_plain: bool = False
) -> Iterator[Row]:
    """Yield the rows that are not empty; raise ReviewLogError for the first that is not valid.

    A file that `may_be_plain`, and whose first line does not name the required column, has no
    columns: each line is a value.
    """
    text = _decode(_read_bytes(file))
    first = [name.strip() for name in text.partition("\n")[0].split(",")]
    if may_be_plain and file.suffix != ".csv" and required[0] not in first:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield Row([line], {required[0]: 0}, number)
        return
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = _find_columns(_next(rows) or [], required, optional)
    while (row := _next(rows)) is not None:
        if row:
            yield Row(row, columns, rows.line_num)


def _read_bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(_MAX_BYTES + 1)  # limited, because the file may be an endless device
    if len(raw) > _MAX_BYTES:
        raise ReviewLogError(
            f"expected at most {_MAX_BYTES >> 20} MiB: split the file and import its parts"
        )
    return raw


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].split(b"\n")
        place = f"row {len(before)}, column {before[-1].count(b',') + 1}"
        raise ReviewLogError(f"{place}: expected UTF-8") from None


def _next(rows: Any) -> list[str] | None:
    # typeshed does not export the type of a csv.reader
    try:
        return next(rows, None)
    except csv.Error as error:
        raise ReviewLogError(f"row {rows.line_num}: expected csv, {error}") from None


def _find_columns(
    header: list[str], required: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    names = [name.strip() for name in header]
    for column in required:
        if column not in names:
            found = ", ".join(names)[:80] or "none"
            raise _error(1, column, f"a column with this name, found {found!r}")
    return {name: names.index(name) for name in (*required, *optional) if name in names}


def _error(line: int, column: str, expected: str) -> ReviewLogError:
    return ReviewLogError(f"row {line}, column {column}: expected {expected}")
