"""Archiving a log, and rebuilding from the archive, compared with in place."""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from bench import logs, processes
from bench.lines import Line, Rounds, format_rate, limit
from bench.server import Server, Store
from progress.adapters import storage
from progress.archive import manifests, runs
from progress.archive.runs import Request
from progress.projections import rebuild
from progress.recovery import archive_rebuild, rebuild_processes
from progress.recovery.archive_rebuild import Engine, Source

_ROUNDS = 3
_BUCKETS = 256
_REBUILT_BUCKETS, _WORKERS = 16, 2  # connections (in place) or processes (from the archive)


def measure_archive(server: Server) -> Iterator[Line]:
    """Measure the memory of the archiving, which writes and verifies every event, and the files."""
    store = server.create_store()
    events = logs.fill_long(store, events=250_000)
    rebuild.run(store.connect)
    with tempfile.TemporaryDirectory() as folder:
        seconds, memory = processes.run_alone(_archive, store, folder, _BUCKETS)
        size = _count_bytes(folder) / events
    server.drop(store)
    what = f"archive of {events:,} events in {_BUCKETS} buckets"
    rate = f"{format_rate(events / seconds)}, written and verified"
    yield limit(f"bytes of an event in the {what}", size, 45, "B", shown=f"{size:.1f}")
    yield limit(f"peak memory of an {what}", memory, 700, "MB", against=rate)


def _archive(store: Store, folder: str, buckets: int) -> float:
    """Archive the log; return the seconds."""
    with closing(store.connect()) as connection:
        begin = time.perf_counter()
        stored = storage.open_storage(folder)
        runs.run(connection, stored, buckets, Request(is_now=True), lambda *_: None)
        return time.perf_counter() - begin


def _count_bytes(folder: str) -> int:
    stored = storage.open_storage(folder)
    ranges = manifests.read_ranges(stored, manifests.require(stored).manifest)
    return sum(file.bytes for one in ranges for file in one.files)


def compare_with_place(server: Server) -> Iterator[Line]:
    """Compare the speed and CPU time of rebuilds from the archive with those of rebuilds in place.

    The CPU time is PostgreSQL's.
    """
    store, rounds = server.create_store(), Rounds()
    events = logs.fill_long(store, events=1_000_000)
    rebuild.run(store.connect)
    with tempfile.TemporaryDirectory() as folder:
        _archive(store, folder, _REBUILT_BUCKETS)
        contenders: dict[str, Callable[[], object]] = {
            "place": lambda: rebuild.run(store.connect, workers=_WORKERS),
            "archive": lambda: _rebuild_from_archive(store, folder),
        }
        for _ in range(_ROUNDS):
            for name, run in contenders.items():
                begin = time.perf_counter()
                rounds.add(f"{name}, CPU", server.measure_cpu(run))
                rounds.add(name, events / (time.perf_counter() - begin))
    server.drop(store)
    what = f"rebuild of {events:,} events from the archive, two processes"
    place = "in place, two connections:"
    yield rounds.compare_rates(what, "archive", "place", against=place, bar=0.9)
    yield rounds.compare_costs(
        f"PostgreSQL's CPU time of a {what}",
        *("archive, CPU", "place, CPU"),
        against="in place:",
        bar=0.5,
        unit="s",
    )


def _rebuild_from_archive(store: Store, folder: str) -> None:
    engine: Engine = functools.partial(rebuild_processes.run_processes, workers=_WORKERS)
    archive_rebuild.run(store.connect, Source(folder, store.url), engine, lambda *_: None)
