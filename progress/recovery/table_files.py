"""The files of a dump: each table's rows as COPY writes them, compressed by gzip."""

import functools
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.outputs import HashedOutput, Rows
from progress.adapters.storage.storage import PART, Storage
from progress.archive.catalogue import Progress
from progress.errors import ProgressError

_GZIP_LEVEL = 1  # the fastest level, which keeps up with the network
_GZIP_WBITS = 31


class Table(msgspec.Struct, frozen=True):
    """The file of a table."""

    name: str
    rows: int
    bytes: int
    sha256: str


def write_tables(
    connection: Connection,
    storage: Storage,
    folder: str,
    tables: list[list[Any]],
    on_progress: Progress,
) -> list[Table]:
    """Write a file for each table, given by its name, estimated rows and COPY statement."""
    done, estimate = 0, sum(rows for _, rows, _ in tables)
    written: list[Table] = []
    for table, _, copy_out in tables:
        with storage.writing(f"{folder}/{table}.gz") as output:
            file = HashedOutput(output)
            # Without a time in its header, a file of the same rows has the same bytes.
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, cast("IO[bytes]", file), 0) as packed:
                rows = Rows(packed, functools.partial(_report, on_progress, done, estimate))
                connection.run(copy_out, stream=rows)
                rows.flush()
        written.append(Table(table, rows.lines, file.bytes, file.digest.hexdigest()))
        done += rows.lines
    on_progress(done, done)
    return written


def _report(on_progress: Progress, done: int, estimate: int, rows: int) -> None:
    on_progress(done + rows, max(estimate, done + rows))


def decompress(data: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    """Yield the rows in parts, and update `digest` with the compressed data.

    Raise zlib.error if the data is damaged.
    """
    packed = zlib.decompressobj(wbits=_GZIP_WBITS)
    for part in data:
        digest.update(part)
        while part and not packed.eof:
            # Limit the size of a part, because a megabyte may decompress to a gigabyte.
            if rows := packed.decompress(part, PART):
                yield rows
            part = packed.unconsumed_tail  # noqa: PLW2901
    while not packed.eof and (rows := packed.decompress(b"", PART)):
        yield rows
    if not packed.eof:
        raise zlib.error("the data ends early")


def load_table(connection: Connection, data: Iterator[bytes], table: Table, copy_in: str) -> None:
    """Load the file of a table; raise ProgressError if its rows differ from the manifest."""
    rows = _TableRows(data)
    with database.translate_errors(
        lambda failure: _cannot_load(table, failure.message) if failure.is_refusal else None
    ):
        connection.run(copy_in, stream=rows.parts())
    if reason := rows.find_fault(table, connection.row_count):
        raise _cannot_load(table, reason)


def _cannot_load(table: Table, reason: object) -> ProgressError:
    return ProgressError(f"{table.name}.gz cannot be restored ({reason}): use another dump")


class _TableRows:
    """The rows of a table. If reading them fails, `find_fault` returns the error after the COPY."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data, self._digest = data, hashlib.sha256()
        self._error: Exception | None = None

    def parts(self) -> Iterator[bytes]:
        """Yield the rows up to the first error."""
        try:
            yield from decompress(self._data, self._digest)
        except (zlib.error, ProgressError) as error:
            self._error = error

    def find_fault(self, table: Table, rows: int) -> object:
        """Return how the rows differ from the manifest; None if they do not."""
        if self._error is None and self._digest.hexdigest() == table.sha256 and rows == table.rows:
            return None
        return self._error or "its checksum or row count is wrong"
