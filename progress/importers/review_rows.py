"""Read the rows of a review log, in CSV or Parquet, and bring those of each learner together."""

import base64
import contextlib
import csv
import itertools
import re
import struct
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from progress.adapters.postgres.statements import blocks
from progress.errors import ReviewLogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

USER = "user_id"
DAMAGED = re.compile("[\ud800-\udfff]")  # stands for a byte that is not UTF-8
NOT_UTF8 = "\0"  # stands for a cell that is not UTF-8
NESTED = "\0[]"  # stands for a cell of lists, maps and the like
UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")  # a soft hyphen, and characters without a width
NONE = {"null", "nan", "none", "\\n", "<na>"}  # what programs write for a missing value
_NUMBER = re.compile(r"(-?[0-9]+)\.([0-9]+)")
_BIGINT = re.compile(r"-?[0-9]{1,19}")
_MOST_EXACT = 2**53  # of the whole numbers that a float has

_Line = tuple[int, str]
_Found = tuple[int, list[str] | str]  # a row's number, and its cells or the fault in their stead
_MOST = csv.field_size_limit()  # characters of a cell
_LONGEST_LINE = 1 << 20  # characters; the rest counts as another line
_MOST_LINES = 100  # of a row whose cells have line breaks
_PARQUET = b"PAR1"
_AT_A_TIME = 1_000
# How files that are no text in UTF-8 begin, and what to do.
_FORMS = {
    b"\x1f\x8b": "a gzip file: unpack it",
    b"PK\x03\x04": "a zip file or a workbook: unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
_LONGEST = 1_000  # characters of a cell that are kept; each field has fewer
_FAULT = f": expected at most {_MOST:,} characters in a cell"
_TOO_LONG = "\0…"  # stands for a cell that is longer than csv allows
_NESTED_TYPES = {"array", "geometry", "list", "map", "struct", "union", "variant"}
_DURATION, _MILLISECOND = 18, 1  # a type and a unit of Apache Arrow
_DAY_MS = 86_400_000
_PARTS = 128  # files on disk, of which one at a time is in memory
_MOST_BYTES = 2 << 30


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A row's learner, its number in the file, and its cells or the fault in their stead.

    A row that names no learner belongs to that of the row before; without a column, all are ''.
    """

    user: str
    number: int
    cells: list[str] = []
    fault: str = ""


def read(file: Path, columns: Collection[str]) -> Iterator[Row]:
    """Yield the names of the columns, then the rows; raise ReviewLogError if that is impossible.

    The number of a row is its first line or, in Parquet, its place among the rows, from 1. Of a
    Parquet file, only `columns` are read: their names come first, and the others have no cells.
    """
    try:
        with file.open("rb") as stream:
            is_parquet = stream.read(len(_PARQUET)) == _PARQUET
        found = _read_parquet(file, columns) if is_parquet else _read_csv(file, columns)
        _, names = next(found, (1, list[str]()))
        if isinstance(names, str):
            raise ReviewLogError(f"{file}: row 1{names}")
        names = [name.strip() for name in names]
        yield Row("", 1, names)
        yield from _name_learners(found, names.index(USER) if USER in names else None)
    except OSError as error:
        raise ReviewLogError(f"{file}: {error.strerror or error}") from None


def _name_learners(found: Iterable[_Found], place: int | None) -> Iterator[Row]:
    user = ""
    for number, cells in found:
        if isinstance(cells, str):
            yield Row(user, number, fault=cells)
            continue
        text = cells[place].strip() if place is not None and place < len(cells) else ""
        if not text.startswith(NOT_UTF8) and text.casefold() not in NONE:
            with contextlib.suppress(ValueError):
                user = parse_id(text) or user
        is_long = max(map(len, cells), default=0) > _LONGEST
        yield Row(user, number, [c.strip()[:_LONGEST] for c in cells] if is_long else cells)


def parse_id(text: str) -> str:
    """Return the whole number that a program has made a float; raise ValueError for another one."""
    if number := _NUMBER.fullmatch(text):
        if int(number[2]) or abs(int(number[1])) > _MOST_EXACT:
            raise ValueError
        return number[1]
    return text


def find_form(text: str) -> str:
    """Return what a file is instead of a text, and what to do; '' if it begins as a text does."""
    has_zero = text[:2].count("\0") == 1  # as UTF-16 has that does not say so
    begin = b"\xff\xfe" if has_zero else text[:4].encode(errors="surrogateescape")
    return next(
        (f"expected UTF-8, found {_FORMS[one]}" for one in _FORMS if begin.startswith(one)), ""
    )


def find_delimiter(header: str, columns: Collection[str]) -> str | None:
    """Return the delimiter that gives the header the most of the columns; None if none does."""
    counts = {one: len({*split_names(header, one)} & {*columns}) for one in ",;\t"}
    return max((one for one in counts if counts[one]), key=counts.__getitem__, default=None)


def split_names(header: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]


def _read_csv(file: Path, columns: Collection[str]) -> Iterator[_Found]:
    """Yield the rows; where a quote is not closed, only its line is a fault."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        lines = enumerate(iter(lambda: stream.readline(_LONGEST_LINE), ""), start=1)
        following = deque[_Line]()
        width, delimiter = None, ","
        while line := following.popleft() if following else next(lines, None):
            number, text = line
            if number == 1 and (form := find_form(text)):
                yield 1, f": {form}"
            ahead = itertools.islice(_look_ahead(following, lines), _MOST_LINES)
            try:
                if width is None:
                    delimiter = find_delimiter(text, columns) or ","
                rows = csv.reader(itertools.chain([text], ahead), delimiter=delimiter, strict=True)
                cells = next(rows)
                if rows.line_num > 1 and len(cells) != width:
                    raise csv.Error("a quote is not closed")
            except csv.Error as error:
                yield number, f": expected csv, {error}"
                continue
            for _ in range(rows.line_num - 1):
                following.popleft()
            if cells:
                width = width or len(cells)
                yield number, [NOT_UTF8 if DAMAGED.search(cell) else cell for cell in cells]


def _look_ahead(following: deque[_Line], lines: Iterator[_Line]) -> Iterator[str]:
    """Yield the lines that a reader asks for, which stay in `following`."""
    yield from (text for _, text in list(following))
    for line in lines:
        following.append(line)
        yield line[1]


def _read_parquet(file: Path, columns: Collection[str]) -> Iterator[_Found]:
    import duckdb  # imported late: it takes 20 MB of memory

    config: dict[str, str | bool | int | float | list[str]]
    config = {"memory_limit": "256MB", "threads": "1", "autoinstall_known_extensions": "false"}
    try:
        with contextlib.closing(duckdb.connect(":memory:", config=config)) as duck:
            duck.execute("SET TimeZone = 'UTC'")
            run = blocks("importers/review_rows")
            schema = duck.execute(run["arrow"], {"file": str(file)}).fetchone()
            units = _find_durations(schema[0] if schema else b"")
            table = duck.read_parquet(str(file))
            kinds = {name: kind.id for name, kind in zip(table.columns, table.types, strict=True)}
            units |= {name: _MILLISECOND for name, kind in kinds.items() if kind == "interval"}
            known = [name for name in kinds if name.strip() in columns]
            names = [name for name in known if kinds[name] not in _NESTED_TYPES]
            nested = [NESTED for name in known if name not in names]
            yield 0, sorted(kinds, key=[*names, *known, *kinds].index)
            numbers = itertools.count(1)
            for cells in _select(duck, run["parquet"], file, names) if names else ():
                texts = [*map(_convert, cells, names, map(units.get, names))]
                yield next(numbers), _FAULT if _TOO_LONG in texts else texts + nested
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise ReviewLogError(f"{file}: expected a review log in Parquet: {reason}") from None


def _select(
    duck: "DuckDBPyConnection", statement: str, file: Path, names: list[str]
) -> Iterator[tuple[str, ...]]:
    values = {"most": _MOST, "longest": _LONGEST, "fault": _TOO_LONG}
    rows = duck.execute(statement, {"file": str(file), "names": names, **values})
    while some := rows.fetchmany(_AT_A_TIME):
        yield from some


def _convert(cell: str, name: str, unit: int | None) -> str:
    """Return a duration in milliseconds, or an interval in days; and any other cell as it is."""
    if unit is None or not _BIGINT.fullmatch(cell):
        return cell
    milliseconds = int(cell) * 1_000 / 1_000**unit
    return str(milliseconds / _DAY_MS if name.startswith("interval") else milliseconds)


def _find_durations(schema: bytes) -> dict[str, int]:
    """Return the columns that are durations, with n of their unit, seconds / 1,000^n.

    The schema is Apache Arrow's, a flat buffer in base64: a table has the offset of a list of the
    offsets of its fields.
    """
    data, found = b"", dict[str, int]()

    def read(at: int, form: str = "<I") -> int:
        return int(struct.unpack_from(form, data, at)[0])

    def find(table: int, number: int) -> int:
        offsets = table - read(table, "<i")
        is_there = 4 + 2 * number < read(offsets, "<H")
        return (is_there and read(offsets + 4 + 2 * number, "<H")) + table

    def follow(table: int, number: int) -> int:
        return (at := find(table, number)) + read(at)

    with contextlib.suppress(struct.error, ValueError):  # it is damaged, or there is none
        data = base64.b64decode(schema)
        data = data[8 if data.startswith(b"\xff" * 4) else 4 :]
        fields = follow(follow(read(0), 2), 1)
        for at in range(fields + 4, fields + 4 + 4 * read(fields), 4):
            field = at + read(at)
            if read(find(field, 2), "B") == _DURATION:
                name, unit = follow(field, 0), find(kind := follow(field, 3), 0)
                text = data[name + 4 : name + 4 + read(name)].decode()
                found[text] = read(unit, "<h") % 4 if unit != kind else _MILLISECOND
    return found


def survey(rows: Iterable[Row]) -> tuple[int, int, bool]:
    """Return the number of rows, that of learners, and whether each learner's rows are together."""
    count, groups, users = 0, 0, set[str]()
    for user, some in itertools.groupby(rows, attrgetter("user")):
        count, groups = count + sum(1 for _ in some), groups + 1
        users.add(user)
    return count, len(users - {""}), groups == len(users)


def sort(
    file: Path, rows: Iterable[Row], on_rows: Callable[[int], None]
) -> tuple[Iterator[Row], int]:
    """Copy the rows to disk, and return them learner by learner, with the bytes that they take.

    All rows of a learner are in one of several files, which have no names: a process that is killed
    leaves nothing. `on_rows` receives the number of rows so far.
    """
    size = 0
    try:
        with contextlib.ExitStack() as opened:
            parts = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(_PARTS)]
            for count, row in enumerate(rows, start=1):
                line = msgspec.json.encode(row) + b"\n"
                size += parts[zlib.crc32(row.user.encode()) % _PARTS].write(line)
                if size > _MOST_BYTES:
                    raise ReviewLogError(
                        f"{file}: expected rows sorted by {USER} and time, or at most "
                        f"{_MOST_BYTES >> 30} GiB to sort here: sort the file first, or split it"
                    )
                on_rows(count)
            for part in parts:
                part.seek(0)
            opened.pop_all()
    except OSError as error:
        raise ReviewLogError(f"{tempfile.gettempdir()}: {error.strerror or error}") from None
    return _read_parts(parts), size


def _read_parts(parts: Sequence[IO[bytes]]) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(Row)
    for part in parts:
        with part:
            yield from sorted(map(decoder.decode, part), key=attrgetter("user"))
