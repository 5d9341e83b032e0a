"""A rebuild from the archive, compared with a rebuild in place.

`EVENTS=4000000 python -m bench "archive rebuild"` uses 4,000,000 events instead of a million.
"""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.adapters import storage
from progress.archive import runs
from progress.archive.plan import Request
from progress.projections import rebuild
from progress.recovery import archive_rebuild, engines
from progress.recovery.archive_rebuild import Engine, Source

_ROUNDS = 3
_BUCKETS = 16
_WORKERS = 2  # connections (rebuild in place) or processes (rebuild from the archive)
_EVENTS_OF_A_LEARNER = 840  # in 20 sessions
_EVENTS = int(os.environ.get("EVENTS", "1000000"))


def compare_with_place(server: Server) -> Iterator[Line]:
    """Compare the speed and CPU time of rebuilds from the archive with those of rebuilds in place.

    The CPU time is PostgreSQL's.
    """
    store, rounds = server.create_store(), Rounds()
    events = logs.fill(store, learners=_EVENTS // _EVENTS_OF_A_LEARNER, sessions=20)
    rebuild.run(store.connect)
    with tempfile.TemporaryDirectory() as folder:
        _archive(store, folder)
        for _ in range(_ROUNDS):
            for name, run in _list_contenders(store, folder).items():
                seconds, cpu_seconds = _measure(server, run)
                rounds.add(name, events / seconds)
                rounds.add(f"{name}, CPU", cpu_seconds)
    server.drop(store)
    yield from _compare(rounds, f"rebuild of {events:,} events from the archive, two processes")


def _list_contenders(store: Store, folder: str) -> dict[str, Callable[[], object]]:
    contenders: dict[str, Callable[[], object]] = {
        "place": lambda: rebuild.run(store.connect, workers=_WORKERS),
        "archive": lambda: _rebuild_from_archive(store, folder, engines.run_processes),
    }
    return contenders


def _compare(rounds: Rounds, what: str) -> Iterator[Line]:
    yield rounds.compare_rates(
        what, "archive", "place", against="in place, two connections:", bar=0.9
    )
    yield Line(
        f"PostgreSQL's CPU time of a {what}",
        f"{rounds.median('archive, CPU'):.1f} s",
        f"in place: {rounds.median('place, CPU'):.1f} s",
        rounds.ratio("archive, CPU", "place, CPU"),
        0.5,
        at_most=True,
    )


def _archive(store: Store, folder: str) -> None:
    with closing(store.connect()) as connection:
        stored = storage.open_storage(folder)
        runs.run(connection, stored, _BUCKETS, Request(is_now=True), lambda *_: None)


def _rebuild_from_archive(store: Store, folder: str, run: Callable[..., None]) -> None:
    engine: Engine = functools.partial(run, workers=_WORKERS)
    archive_rebuild.run(store.connect, Source(folder, store.url), engine, lambda *_: None)


def _measure(server: Server, run: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the run, and the CPU seconds of the server's processes."""
    begin, cpu_seconds = time.perf_counter(), server.cpu_seconds()
    run()
    return time.perf_counter() - begin, server.cpu_seconds() - cpu_seconds
