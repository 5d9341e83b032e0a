"""The archive benchmark: archiving a log, compared with a COPY of the same events.

`python -m bench.archive NAME SERVER FOLDER` archives the log of the store NAME to FOLDER, and
prints the seconds and the peak memory in MB. SERVER is the folder of the database server.
`EVENTS=1000000 python -m bench archive` measures a larger log.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.adapters import storage
from progress.archive import catalog, log_rows, runs
from progress.archive.log_rows import Positions
from progress.archive.plan import Request
from progress.projections import rebuild

_ROUNDS = 3
_BUCKETS = 256
_EVENTS_OF_A_LEARNER = 840  # in 20 sessions
_EVENTS = int(os.environ.get("EVENTS", "250000"))


def compare_with_copy(server: Server) -> Iterator[Line]:
    """Compare the archiving, which writes and verifies every event, with a COPY into a file."""
    store, rounds = server.create_store(), Rounds()
    events = logs.fill(store, learners=_EVENTS // _EVENTS_OF_A_LEARNER, sessions=20)
    rebuild.run(store.connect)
    memory = size = 0.0
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.add("copy", events / _time_copy(store, events, Path(folder)))
            seconds, memory = _time_archive(store, folder)
            rounds.add("archive", events / seconds)
            size = _count_bytes(folder) / events
    server.drop(store)
    what = f"archive of {events:,} events in {_BUCKETS} buckets"
    yield rounds.compare_rates(
        f"{what}, written and verified", "archive", "copy", against="COPY:", bar=0.2
    )
    yield Line(f"bytes of an event in the {what}", f"{size:.1f}", "", size, 45, "B", at_most=True)
    yield Line(f"peak memory of an {what}", f"{memory:.0f} MB", "", memory, 700, "MB", at_most=True)


def _time_copy(store: Store, events: int, folder: Path) -> float:
    with closing(store.connect()) as connection:
        begin = time.perf_counter()
        with (folder / "rows.csv").open("wb", buffering=1 << 18) as file:
            log_rows.copy(connection, Positions(1, events), _BUCKETS, file)
        return time.perf_counter() - begin


def _time_archive(store: Store, folder: str) -> tuple[float, float]:
    """Return the seconds and the peak memory, in MB, of a process that archives the log."""
    words = [sys.executable, "-m", "bench.archive", store.name, str(store.folder), folder]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def _count_bytes(folder: str) -> int:
    stored = storage.open_storage(folder)
    published = catalog.read(stored)
    assert published
    ranges = catalog.read_ranges(stored, published.manifest)
    return sum(file.bytes for one in ranges for file in one.files)


def _archive(store: Store, folder: str) -> None:
    """Archive the log; print the seconds and the peak memory of this process in MB."""
    with closing(store.connect()) as connection:
        begin = time.perf_counter()
        stored = storage.open_storage(folder)
        runs.run(connection, stored, _BUCKETS, Request(is_now=True), lambda *_: None)
        seconds = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1_024 / 1e6
    print(f"{seconds:.2f} {peak:.1f}")


if __name__ == "__main__":
    _archive(Store(sys.argv[1], Path(sys.argv[2])), sys.argv[3])
