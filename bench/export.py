"""The export of a learner with 200,000 events, compared with a COPY of the same events.

`python -m bench.export NAME FOLDER [LOCATION]` exports the only learner in the database
`NAME` and prints the peak memory in MB. `FOLDER` is the data directory of the PostgreSQL server.
`LOCATION` is the bucket for the export; without it, nothing is stored.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress import settings
from progress.adapters import retries, storage
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Output
from progress.operations import export_user
from progress.projections import notifications, schema
from tests.support import cloud_storage

_ROUNDS = 3
_SESSIONS = 4_762  # of 42 events each, as in the benchmark `history`
_FILE = "operations/export_user"
_BROKEN = " to a bucket whose connections break after a megabyte"


class _Null:
    """An output that only counts the bytes that are written to it."""

    size = 0

    def write(self, data: bytes) -> None:
        """Count the bytes."""
        self.size += len(data)


def compare_with_copy(server: Server) -> Iterator[Line]:
    """Compare the whole export with a COPY of the learner's events; also measure peak memory."""
    store = server.create_store()
    logs.fill(store, learners=1, sessions=_SESSIONS)
    (learner,) = logs.learners(store, events=1)
    with closing(store.connect()) as connection:
        export_user.catch_up(connection, learner, notifications.DISABLED, time.sleep)
    rounds = Rounds()
    for _ in range(_ROUNDS):
        megabytes, seconds = _time_copy(store, learner)
        rounds.add("copy", megabytes / seconds)
        rounds.add("export", megabytes / _time_export(store, learner))
    memories = {"": _measure_memory(store), _BROKEN: _measure_memory_with_bucket(store)}
    server.drop(store)
    what = f"export of {42 * _SESSIONS:,} events"
    yield Line(
        what,
        f"{rounds.median('export'):.0f} MB/s",
        f"COPY of the events: {rounds.median('copy'):.0f} MB/s",
        rounds.ratio("export", "copy"),
        0.33,
    )
    for where, memory in memories.items():
        peak = f"peak memory of an {what}{where}"
        yield Line(peak, f"{memory:.0f} MB", "", memory, 200, "MB", at_most=True)


def _time_copy(store: Store, learner: str) -> tuple[float, float]:
    """Return the size of the events in MB, and how many seconds a COPY of the events takes."""
    sink = _Null()
    with closing(store.connect()) as connection:
        schema.set_search_path(connection)
        connection.run(blocks(_FILE)["begin"])
        connection.run(blocks(_FILE)["snapshot"], learner=learner)
        begin = time.perf_counter()
        connection.run(blocks(_FILE)["events"], stream=sink)
        return sink.size / 1e6, time.perf_counter() - begin


def _time_export(store: Store, learner: str, output: Output | None = None) -> float:
    """Return how many seconds it takes to write the learner's ZIP file."""
    with closing(store.connect()) as connection:
        schema.set_search_path(connection)
        begin = time.perf_counter()
        export_user.write(connection, learner, output or _Null(), lambda _: None)
        return time.perf_counter() - begin


def _measure_memory_with_bucket(store: Store) -> float:
    """Return the peak memory of an export to a bucket that breaks the first connections."""
    with cloud_storage.serve() as (address, bucket):
        bucket.cuts = [1 << 20] * 5  # the export's size is about 8 MB
        return _measure_memory(store, "gs://exports", STORAGE_EMULATOR_HOST=address)


def _measure_memory(store: Store, *location: str, **environment: str) -> float:
    """Return the peak memory of a process that exports the learner, in MB."""
    words = [sys.executable, "-m", "bench.export", store.name, str(store.folder), *location]
    done = subprocess.run(
        words, env=settings.child_env(**environment), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _print_peak_memory(store: Store, location: str | None) -> None:
    (learner,) = logs.learners(store, events=1)
    retries._FIRST_PAUSE_S = 0.0  # noqa: SLF001 - the pauses would take minutes
    with ExitStack() as stack:
        output = location and stack.enter_context(storage.open_storage(location).writing("x.zip"))
        _time_export(store, learner, output or None)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1_024 / 1e6
    print(f"{peak:.1f}")


if __name__ == "__main__":
    _print_peak_memory(Store(sys.argv[1], Path(sys.argv[2])), next(iter(sys.argv[3:]), None))
