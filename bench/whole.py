"""The cost of whole folds in PostgreSQL (compared with a rebuild) and in DuckDB.

A whole fold is one SELECT that computes all rows of a table from the log.
`python -m bench.whole FILE` folds a Parquet file of the archive in DuckDB, and prints the CPU
seconds and the peak memory in MB. `EVENTS=4000000 python -m bench whole` measures a larger log.
"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import msgspec

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store
from bench.statements import blocks
from progress.archive import files, log_rows, row_files
from progress.archive.log_rows import Positions
from progress.event_store import time_zones
from progress.projections import rebuild, whole
from progress.recovery import comparison

_ROUNDS = 3
_EVENTS_OF_A_LEARNER = 840  # in 20 sessions
_EVENTS = int(os.environ.get("EVENTS", "1000000"))
_MEMORY = "1GB"


def compare_with_rebuild(server: Server) -> Iterator[Line]:
    """Compare the CPU time of whole folds with that of a rebuild."""
    store, rounds, memory = server.create_store(), Rounds(), 0.0
    events = logs.fill(store, learners=_EVENTS // _EVENTS_OF_A_LEARNER, sessions=20)
    with tempfile.TemporaryDirectory() as folder:
        bucket = _write_bucket(store, events, Path(folder))
        for _ in range(_ROUNDS):
            rounds.add("rebuild", _measure_cpu(server, lambda: rebuild.run(store.connect)))
            rounds.add("postgresql", _measure_cpu(server, lambda: _fold(store)))
            seconds, memory = _fold_in_duckdb(bucket)
            rounds.add("duckdb", events / seconds)
    server.drop(store)
    yield Line(
        f"PostgreSQL's CPU time for whole folds of {events:,} events",
        f"{rounds.median('postgresql'):.1f} s",
        f"for a rebuild: {rounds.median('rebuild'):.1f} s",
        rounds.ratio("postgresql", "rebuild"),
        1.5,
        at_most=True,
    )
    what = f"whole folds of one bucket ({events:,} events) in DuckDB"
    rate = rounds.median("duckdb")
    yield Line(f"{what}, one core", rounds.rate("duckdb"), "", rate, 200_000, "events/s")
    yield Line(f"peak memory of {what}", f"{memory:.0f} MB", "", memory, 1_500, "MB", at_most=True)


def _measure_cpu(server: Server, work: Callable[[], object]) -> float:
    """Return the CPU seconds that the server's processes take for the work."""
    before = server.cpu_seconds()
    work()
    return server.cpu_seconds() - before


def _fold(store: Store) -> None:
    with contextlib.closing(store.connect()) as connection, comparison.open_snapshot(connection):
        comparison.fold(connection)


def _write_bucket(store: Store, events: int, folder: Path) -> Path:
    """Write the log as one bucket of an archive; return the path of the file."""
    target = folder / "log.parquet"
    with contextlib.closing(store.connect()) as connection, files.open_workspace() as workspace:
        with row_files.open_files(workspace.folder) as rows:
            log_rows.copy(connection, Positions(1, events), 1, rows)
        workspace.write(rows.by_bucket)[0].path.rename(target)
    return target


def _fold_in_duckdb(bucket: Path) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory, in MB, of a process that folds the file."""
    words = [sys.executable, "-m", "bench.whole", str(bucket)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def _print_fold(bucket: Path) -> None:
    """Fold the file; write the tables as CSV; print the CPU seconds and the peak memory in MB."""
    config = {"memory_limit": _MEMORY, "temp_directory": f"{bucket}.temporary", "threads": "1"}
    sources, folds = whole.source_statements("duckdb"), whole.fold_statements()
    with contextlib.closing(duckdb.connect(":memory:", config=dict(config))) as duck:
        rules = msgspec.json.encode(list(time_zones.rules())).decode()
        duck.execute(sources["zone_offsets"], {"rules": rules})
        duck.execute(blocks("whole")["log"].replace("{file}", str(bucket)))
        begin = _own_cpu_seconds()
        for statement in (sources["typed_events"], *folds.values()):
            duck.execute(statement)
        for table in whole.TABLES:
            duck.execute(
                blocks("whole")["write"].replace("{table}", table), {"csv": f"{bucket}.csv"}
            )
        seconds = _own_cpu_seconds() - begin
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1_024 / 1e6
    print(f"{seconds:.2f} {peak:.1f}")


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    _print_fold(Path(sys.argv[1]))
