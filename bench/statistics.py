"""The export of a million days of statistics, compared with a COPY of the table.

`python -m bench.statistics DATABASE FOLDER FORMAT` exports the daily statistics, and prints the
peak memory in MB. FOLDER is the data folder of the running PostgreSQL server.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.adapters.postgres.statements import blocks
from progress.operations import export_statistics
from progress.operations.export_files import FileFormat, StatisticsArguments, StatisticsTable
from progress.projections import schema

_ROUNDS = 3
_ROWS = 1_000_000
_SQL = blocks(str(Path(__file__).with_name("export")))


class _Null:
    """An output that discards everything."""

    def write(self, data: bytes) -> None:
        """Drop the bytes."""


def compare_with_copy(server: Server) -> Iterator[Line]:
    """Compare exports in both formats with a COPY of the table, and measure the exports' memory."""
    store = server.create_store()
    with closing(store.connect()) as connection:
        schema.set_search_path(connection)
        connection.run(_SQL["fill days"])
        connection.run("ANALYZE")
    rounds = Rounds()
    for _ in range(_ROUNDS):
        rounds.add("copy", _ROWS / _time_copy(store))
        for format_ in FileFormat:
            rounds.add(format_, _ROWS / _time_export(store, format_))
    memories = {format_: _measure_memory(store, format_) for format_ in FileFormat}
    server.drop(store)
    for format_, bar in ((FileFormat.CSV, 0.5), (FileFormat.PARQUET, 0.4)):
        what = f"export of {_ROWS:,} days of statistics as {format_}"
        yield rounds.compare_rates(what, format_, "copy", against="COPY:", bar=bar, of="rows")
        memory = memories[format_]
        yield Line(
            f"peak memory of an {what}", f"{memory:.0f} MB", "", memory, 400, "MB", at_most=True
        )


def _time_copy(store: Store) -> float:
    with closing(store.connect()) as connection:
        schema.set_search_path(connection)
        begin = time.perf_counter()
        connection.run(_SQL["copy days"], stream=_Null())
        return time.perf_counter() - begin


def _time_export(store: Store, format_: FileFormat) -> float:
    """Return how many seconds it takes to write the file."""
    request = StatisticsArguments(StatisticsTable.DAILY, format_, None, None, None)
    with closing(store.connect()) as connection:
        schema.set_search_path(connection)
        begin = time.perf_counter()
        export_statistics.write(connection, request, _Null(), lambda _: None)
        return time.perf_counter() - begin


def _measure_memory(store: Store, format_: FileFormat) -> float:
    """Return the peak memory, in MB, of a process that exports the rows."""
    words = [sys.executable, "-m", "bench.statistics", store.name, str(store.folder), format_]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _print_peak_memory(store: Store, format_: FileFormat) -> None:
    _time_export(store, format_)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1_024 / 1e6
    print(f"{peak:.1f}")


if __name__ == "__main__":
    _print_peak_memory(Store(sys.argv[1], Path(sys.argv[2])), FileFormat(sys.argv[3]))
