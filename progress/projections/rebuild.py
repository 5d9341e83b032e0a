"""Rebuild the read models: fold the log into a second schema, then swap it in."""

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connect, Connection
from progress.adapters.telemetry import logs
from progress.errors import PoisonError
from progress.projections import batch, replacement, views
from progress.projections import projector as shard_projector
from progress.projections import schema as read_model_schema
from progress.projections.projector import Projector

Progress = Callable[[int, int], None]
T = TypeVar("T")

_FILE = "projections/rebuild"
_WHOLE_SHARD = 2**31 - 1


def run(connect: Connect, *, workers: int = 2, on_progress: Progress | None = None) -> int:
    """Rebuild every projection and swap the schemas; return the number of events folded.

    The workers call `on_progress` with the number of events folded so far and the total number. A
    rebuild that fails or is interrupted drops the second schema; if a rebuild is killed, the next
    rebuild drops it. Raise RebuildRunning if the lock of rebuilds is held.
    """
    with replacement.open_replacement(connect) as second:
        folded = fold(connect, workers, on_progress)
        return folded + replacement.swap(second)


def ensure(connect: Connect) -> bool:
    """Create this code's schema and fold the log; return False if the schema already exists."""
    with contextlib.closing(connect()) as connection:
        if read_model_schema.exists(connection, read_model_schema.schema_name()):
            return False
        _, events = database.run(connection, _FILE, "log_end")[0]
        if not events:
            is_created = read_model_schema.create(connection)
            views.follow(connection, None)
            return is_created
    run(connect)
    return True


def fold(connect: Connect, workers: int = 2, on_progress: Progress | None = None) -> int:
    """Fold the log into the second schema, on several connections; return the number of events.

    Drop the keys of the large tables, fold the events of each shard as one window, and create the
    keys again.
    """
    with open_projectors(connect, workers) as projectors:
        first = projectors[0].connection
        _, total = database.run(first, _FILE, "log_end")[0]
        count = _Counter(total, on_progress)
        drop_keys(first)
        run_in_parallel(
            projectors, shard_projector.SHARDS, lambda p, shard: count.add(_fold_past(p, shard))
        )
        run_in_parallel(projectors, projectors, lambda p, _: create_keys(p.connection))
        count.add(projectors[0].catch_up_all())
        database.run(first, _FILE, "analyze")
        shares = [list(shard_projector.SHARDS)[n::workers] for n in range(workers)]
        run_in_parallel(projectors, shares, lambda p, share: batch.fold(p.connection, share))
    return count.folded


@contextlib.contextmanager
def open_projectors(connect: Connect, count: int) -> Iterator[list[Projector]]:
    """Open projectors for the second schema, on connections tuned for large windows.

    Windows may be large, because the second schema has no readers.
    """
    building = replacement.building_name()
    with contextlib.ExitStack() as stack:
        projectors = []
        for _ in range(count):
            connection = stack.enter_context(contextlib.closing(connect()))
            database.run(connection, _FILE, "tune")
            projectors.append(Projector(connection, building))
        yield projectors


def _fold_past(projector: Projector, shard: int) -> int:
    try:
        return projector.fold_window(shard, _WHOLE_SHARD) or 0
    except PoisonError as error:
        logs.write("WARNING", f"shard {shard}: the large window failed, small ones follow: {error}")
        return 0


def drop_keys(connection: Connection) -> None:
    """Drop the keys of the large tables; `create_keys` creates them again."""
    database.run(connection, _FILE, "drop_keys")


def create_keys(connection: Connection) -> None:
    """Create the keys that are missing; several connections may do so in parallel."""
    while keys := database.run(connection, _FILE, "next_key"):
        connection.run(keys[0][0])


def run_in_parallel(
    projectors: list[Projector], tasks: Iterable[T], do: Callable[[Projector, T], object]
) -> None:
    """Run each task once, on a free projector; the first error stops the remaining tasks."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    stop = threading.Event()

    def work(projector: Projector) -> None:
        while not stop.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            do(projector, task)

    with ThreadPoolExecutor(len(projectors)) as pool:
        # Each worker gets a copy of the caller's context, so that its log lines have the trace id.
        running = [
            pool.submit(contextvars.copy_context().run, work, projector) for projector in projectors
        ]
        try:
            for worker in running:
                worker.result()
        finally:
            stop.set()


class _Counter:
    """The number of events that all workers together have folded."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.folded, self._total = 0, total
        self._lock, self._on_progress = threading.Lock(), on_progress
        self.add(0)

    def add(self, folded: int) -> None:
        with self._lock:
            self.folded += folded
            if self._on_progress:
                self._on_progress(self.folded, max(self._total, self.folded))
