"""The export of a read model's rows: one CSV or Parquet file from one snapshot of the database.

The rows stream from COPY to the storage, so that the memory used does not grow with the number of
rows.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.outputs import HashedOutput, Rows
from progress.adapters.storage.storage import Output
from progress.archive import files
from progress.errors import ProgressError
from progress.operations import accesses, export_files, export_steps
from progress.operations.claimed_operations import ClaimedOperation, connection_for, parse_arguments
from progress.operations.export_files import FileFormat, StatisticsArguments
from progress.operations.export_steps import Written, open_snapshot
from progress.projections import schema

_FILE = "operations/export_statistics"
_TABLES = {"daily": "daily_stats", "weekly": "weekly_stats", "item": "item_stats"}
_TEXT = (
    *("user_id", "item_id", "headword", "language", "kind"),
    *("level", "domain", "domains", "mastery"),
)
_DAYS = ("date", "start", "end")
_TIMES = ("first_answered_at", "first_correct_at", "last_answered_at", "reviewed_at", "due_at")
_QUOTIENTS = (
    "accuracy_rate", "average_response_ms", "average_score", "easiness_factor", "progress_rate",
)  # fmt: skip

# The types of the columns. A column that is not listed has the type BIGINT.
_TYPES = {
    **dict.fromkeys(_TEXT, "VARCHAR"),
    **dict.fromkeys(_DAYS, "DATE"),
    **dict.fromkeys(_TIMES, "TIMESTAMPTZ"),
    **dict.fromkeys(_QUOTIENTS, "DOUBLE"),
    "set_aside": "BOOLEAN",
}
_CSV_BUFFER = 4_000_000  # Bytes of CSV that DuckDB reads at a time.
_PART = 1 << 16  # Bytes of Parquet per read.


def write_statistics(operation: ClaimedOperation) -> object:
    """Write the table's file, and who reads its learners; a repeated attempt replaces the file."""
    request = parse_arguments(operation, StatisticsArguments)
    name, suffix = request.table.lower(), request.format.lower()
    learners: list[str] = []

    def write_table(connection: Connection, output: Output) -> Written:
        written = write(connection, request, output, operation.report_progress)
        rows = database.run(connection, _FILE, "listed", name=name)  # of the same snapshot
        learners.extend(learner for (learner,) in rows)
        return written

    with connection_for(operation) as connection:
        schema.set_search_path(connection)
        file = export_steps.write_file(operation, connection, name, suffix, write_table)
    with connection_for(operation) as connection:  # the one before was for reading only
        schema.set_search_path(connection)
        accesses.write_export(connection, operation.id, learners)
    return file


def write(
    connection: Connection,
    request: StatisticsArguments,
    output: Output,
    report_progress: Callable[[float], None],
) -> Written:
    """Write the file in a transaction, which the caller ends by closing the connection.

    The connection's search path must contain the read models. Raise ProgressError if a rebuild
    replaces the read models during the export.
    """
    name, target = request.table.lower(), HashedOutput(output)
    block, table = (name if name in _TABLES else "share"), _TABLES.get(name, "catalogue_shares")
    statement = statements.fill(_FILE, block, table=table, kind=name)
    values = {
        "learners": request.learners,
        "first_day": request.first_day,
        "last_day": request.last_day,
    }
    with open_snapshot(connection, marks_formulas=request.format is FileFormat.CSV):
        taken_at = database.run(connection, _FILE, "request", **values)[0][0]
        plan = database.run(connection, _FILE, f"estimate {name}", **values)
        expected = export_files.read_rows(plan[0][0])
        with _open(target, request.format) as file:
            rows = Rows(file, lambda lines: report_progress(lines / max(lines + 1, expected)))
            connection.run(statement, stream=rows)
            rows.flush()
    return Written(taken_at, target.bytes, target.digest.hexdigest())


def _open(target: HashedOutput, format_: FileFormat) -> contextlib.AbstractContextManager[Output]:
    if format_ is FileFormat.PARQUET:
        return converting(target)
    target.write(export_files.CSV_BEGIN)
    return contextlib.nullcontext(target)


@contextlib.contextmanager
def converting(output: Output) -> Iterator[Output]:
    """Yield an output that accepts CSV rows with a heading.

    The rows are converted to Parquet, and the Parquet is written to `output`. The first write of
    CSV must contain the whole heading. Raise ProgressError if a row cannot be converted.
    """
    with ThreadPoolExecutor(2) as pool:
        conversion = _Conversion(output, pool)
        try:
            with contextlib.suppress(BrokenPipeError):  # `raise_errors` raises the cause
                yield conversion
        finally:
            conversion.close()
        conversion.raise_errors()


class _Conversion:
    """The two pipes and two threads of a conversion.

    `write` writes CSV to the first pipe. In one thread, DuckDB reads this CSV and writes Parquet to
    the second pipe. The other thread sends the Parquet to the output. If a thread fails, it closes
    its ends of the pipes, so that `write` and the other thread end too.
    """

    def __init__(self, output: Output, pool: ThreadPoolExecutor) -> None:
        self._output, self._pool = output, pool
        self._rows: IO[bytes] | None = None
        self._threads: list[Future[None]] = []

    def write(self, data: bytes) -> None:
        """Write CSV; raise BrokenPipeError if a thread has failed."""
        if self._rows is None:
            heading = bytes(data).partition(b"\n")[0].decode()
            self._rows = self._start(heading.split(","))
        self._rows.write(data)

    def close(self) -> None:
        """Close the first pipe, so that DuckDB sees the end of the CSV."""
        if self._rows is not None:
            with contextlib.suppress(BrokenPipeError):
                self._rows.close()

    def raise_errors(self) -> None:
        """Wait for both threads; if both failed, raise the storage's error rather than DuckDB's."""
        for thread in self._threads:
            thread.result()

    def _start(self, columns: list[str]) -> IO[bytes]:
        rows_end, rows = os.pipe()
        file_end, file = os.pipe()
        types = {name: _TYPES.get(name, "BIGINT") for name in columns}
        self._threads = [
            self._pool.submit(_send, file_end, self._output),
            self._pool.submit(_convert, rows_end, file, types),
        ]
        return os.fdopen(rows, "wb")


def _convert(rows: int, file: int, types: dict[str, str]) -> None:
    import duckdb  # imported late: it takes 20 MB of memory, and few steps need it

    try:
        # With more threads, DuckDB needs gigabytes of memory.
        with files.open_duck(None, memory="128MB", threads=1) as connection:
            connection.from_csv_auto(
                f"/dev/fd/{rows}",
                auto_detect=False,
                header=True,
                columns=types,
                delimiter=",",
                quotechar='"',
                allow_quoted_nulls=False,
                parallel=True,  # otherwise DuckDB keeps every buffer until the end
                buffer_size=_CSV_BUFFER,
            ).write_parquet(f"/dev/fd/{file}", compression="zstd")
    except duckdb.Error as error:
        raise ProgressError(
            f"the rows cannot be converted to Parquet (request CSV instead): {error}"
        ) from error
    finally:
        os.close(rows)
        os.close(file)


def _send(file: int, output: Output) -> None:
    with os.fdopen(file, "rb", buffering=0) as pipe:
        while part := pipe.read(_PART):
            output.write(part)
