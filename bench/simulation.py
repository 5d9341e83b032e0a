"""A rebuild from the archive of a simulated log.

The log need not fit into the database of the test machine, because the rebuild reads the log from
the archive's files. `EVENTS=100000000 python -m bench simulation` measures a longer log.
BUCKETS is the number of buckets. SIMULATION_ARCHIVE names a folder that keeps the archive for the
next run with the same numbers of events and buckets. `bench/simulated_archive.py` describes the
log.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import simulated_archive
from bench.lines import Line, format_rate
from bench.server import Server, Store
from bench.simulated_archive import Size
from bench.statements import blocks
from progress.adapters import storage
from progress.adapters.storage.storage import Storage
from progress.archive import catalog
from progress.errors import RebuildEnded
from progress.recovery import archive_loads

_EVENTS = int(os.environ.get("EVENTS", "1000000"))
_BUCKETS = int(os.environ.get("BUCKETS", "256" if _EVENTS > 20_000_000 else "16"))
_SAMPLE_INTERVAL_S = 2.0  # a sample takes CPU time, because it inspects all processes
# The loaded events are counted once in this many samples, because each count opens a connection.
_COUNT_EVERY = 3
_COMMAND = ("rebuild", "--from-archive", "--engine", "local", "--workers", "2")


class Sizes(NamedTuple):
    """The size of the database, and the position in the write-ahead log, in bytes."""

    database: int
    wal: int


class Usage(NamedTuple):
    """The resources used by the rebuild command and its child processes, but not by PostgreSQL."""

    seconds: float
    cpu_seconds: float
    largest_bytes: int  # peak memory of the command's largest process


def measure_rebuild(server: Server) -> Iterator[Line]:
    """Measure how the archive is written, and how the ordinary command rebuilds from it."""
    store, size = server.create_store(), Size(_EVENTS, _BUCKETS)
    with _open_folder() as folder:
        stored = storage.open_storage(f"{folder}/archive")
        yield from _measure_archive(store, size, stored)
        before, cpu_seconds = _read_sizes(store), server.cpu_seconds()
        with _sampling(server, store) as peaks:
            usage = _rebuild(store, folder)
        cpu_seconds = server.cpu_seconds() - cpu_seconds
        yield from _describe(size, usage, peaks)
        yield from _describe_database(size, cpu_seconds, before, _read_sizes(store))
    server.drop(store)


def _measure_archive(store: Store, size: Size, stored: Storage) -> Iterator[Line]:
    begin, cpu_begin, millions = time.perf_counter(), time.process_time(), size.events / 1e6
    with (
        closing(store.connect()) as connection,
        simulated_archive.open_simulation(connection, size) as simulation,
    ):
        simulation.load_log(connection)
        if not _is_written(stored, size):
            simulation.write(connection, stored, _Report("written"))
            seconds = (time.perf_counter() - begin) / millions
            what = f"archive of {size.events:,} simulated events, written"
            cpu_time = f"CPU time: {(time.process_time() - cpu_begin) / millions:.1f} s"
            yield Line(what, _per_million(seconds, "s"), cpu_time, seconds, 10, "s", at_most=True)
    archived = catalog.read_ranges(stored, catalog.require(stored).manifest)
    length = sum(file.bytes for one in archived for file in one.files) / size.events
    yield Line(
        f"bytes of an event in {size.buckets} buckets", f"{length:.1f}", "", length, 60, "B",
        at_most=True,
    )  # fmt: skip


def _is_written(stored: Storage, size: Size) -> bool:
    """Return whether the archive exists; raise ValueError if it has a different size."""
    published = catalog.read(stored)
    if published is None:
        return False
    if (published.manifest.upto, published.manifest.buckets) != (size.events, size.buckets):
        raise ValueError(
            "the archive in SIMULATION_ARCHIVE has a different number of events or of buckets"
        )
    return True


def _rebuild(store: Store, folder: str) -> Usage:
    """Run the rebuild command; raise ChildProcessError if it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "progress.cli", *_COMMAND],
        env={**os.environ, "DATABASE_URL": store.url, "PROGRESS_DATA_DIR": folder},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)  # `used` includes the child processes
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ChildProcessError(f"the rebuild exited with {process.returncode}")
    return Usage(time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1_024)


class _Peaks:
    """The peak memory of the command's processes and of PostgreSQL's processes, in bytes.

    Each sample adds up the memory of the processes. A peak is the largest of these sums.
    `loading_seconds` is the time until the last bucket was loaded.
    """

    def __init__(self) -> None:
        self.command = self.database = 0
        self.loading_seconds = 0.0

    def add(self, server: Server) -> None:
        """Take a sample, without the memory that processes share."""
        own = psutil.Process()
        postgres = psutil.Process(server.pid)
        children = own.children(recursive=True)
        backends = {postgres, *postgres.children(recursive=True)}
        self.command = max(self.command, _sum_memory(set(children) - backends))
        self.database = max(self.database, _sum_memory(backends))


def _sum_memory(processes: set[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
            memory = process.memory_info()
            total += memory.rss - memory.shared
    return total


@contextlib.contextmanager
def _sampling(server: Server, store: Store) -> Iterator[_Peaks]:
    """Sample the memory during the block, and report how many events are loaded."""
    peaks, ended, begin = _Peaks(), threading.Event(), time.perf_counter()
    report = _Report("folded and loaded")

    def sample() -> None:
        loaded = samples = 0
        while not ended.wait(_SAMPLE_INTERVAL_S):
            peaks.add(server)
            samples += 1
            if samples % _COUNT_EVERY == 0 and (now := _count_loaded(store)) > loaded:
                loaded = now
                peaks.loading_seconds = time.perf_counter() - begin
                report(loaded, _EVENTS)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _count_loaded(store: Store) -> int:
    with contextlib.suppress(RebuildEnded), archive_loads.connect(store.url) as connection:
        return archive_loads.count_loaded(connection)
    return 0


def _describe(size: Size, usage: Usage, peaks: _Peaks) -> Iterator[Line]:
    rate, millions = size.events / usage.seconds, size.events / 1e6
    what = f"rebuild of {size.events:,} simulated events from the archive, two processes"
    loading = (
        f"{usage.seconds:.0f} s, of which {peaks.loading_seconds:.0f} s until all rows are loaded"
    )
    yield Line(what, format_rate(rate), loading, rate, 100_000, "events/s")
    cpu_seconds = usage.cpu_seconds / millions
    yield Line(
        "CPU time of DuckDB and Python", _per_million(cpu_seconds, "s"), "", cpu_seconds, 10, "s",
        at_most=True,
    )  # fmt: skip
    memory = peaks.command / 1e6
    largest = f"the largest process: {usage.largest_bytes / 1e6:,.0f} MB"
    yield Line(
        "peak memory of the command's processes", f"{memory:,.0f} MB", largest, memory, 5_000,
        "MB", at_most=True,
    )  # fmt: skip
    memory = peaks.database / 1e6
    yield Line(
        "peak memory of PostgreSQL's processes, without the shared buffers", f"{memory:,.0f} MB",
        "", memory, 2_000, "MB", at_most=True,
    )  # fmt: skip


def _describe_database(
    size: Size, cpu_seconds: float, before: Sizes, after: Sizes
) -> Iterator[Line]:
    millions = size.events / 1e6
    cpu_seconds /= millions
    yield Line(
        "CPU time of PostgreSQL", _per_million(cpu_seconds, "s"), "", cpu_seconds, 6, "s",
        at_most=True,
    )  # fmt: skip
    disk, wal = ((b - a) / 1e6 / millions for a, b in zip(before, after, strict=True))
    log = f"write-ahead log: {_per_million(wal, 'MB')}"
    yield Line(
        "disk of the read models", _per_million(disk, "MB"), log, disk, 250, "MB", at_most=True
    )


def _per_million(value: float, unit: str) -> str:
    return f"{value:.1f} {unit} per million events"


def _read_sizes(store: Store) -> Sizes:
    with closing(store.connect()) as connection:
        return Sizes(*connection.run(blocks("simulation")["size"])[0])


class _Report:
    """A progress report that prints a line after each tenth of the work."""

    def __init__(self, label: str) -> None:
        self._label, self._begin, self._tenths = label, time.perf_counter(), 0

    def __call__(self, done: int, total: int) -> None:
        if (tenths := 10 * done // total) > self._tenths:
            self._tenths, seconds = tenths, time.perf_counter() - self._begin
            print(f"  {self._label}: {done:,} of {total:,} events, {seconds:.0f} s", flush=True)


@contextlib.contextmanager
def _open_folder() -> Iterator[str]:
    if kept := os.environ.get("SIMULATION_ARCHIVE"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
