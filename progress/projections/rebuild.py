"""Rebuild the read models: fold the log into a second schema, then swap it in atomically.

Meanwhile, events keep arriving. Readers see the old rows until the swap and then the new rows.
"""

import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from pg8000.native import identifier

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, PoisonError, RebuildRunning
from progress.projections import batch, notifications, snapshots
from progress.projections import projector as shard_projector
from progress.projections import schema as read_model_schema
from progress.projections.notifications import Publisher
from progress.projections.projector import Projector

Connect = Callable[[], Connection]
Progress = Callable[[int, int], None]
Replayed = set[tuple[int, datetime]]
T = TypeVar("T")

_WHOLE_SHARD = 2**31 - 1
_DROP_TRIES = 60
_IN_USE = ("55P03", "40P01")  # lock timeout; deadlock with a reader of several tables


def run(
    connect: Connect,
    *,
    workers: int = 2,
    on_progress: Progress | None = None,
    on_folded: Callable[[Connection], None] | None = None,
    publisher: Publisher = notifications.DISABLED,
) -> int:
    """Rebuild every projection and swap the schemas; return the number of events folded.

    The workers call `on_progress(folded, all)`. `on_folded(connection)` is called before the
    swap, with the connection that performs the swap. An interrupted or failed rebuild leaves
    nothing behind. Raise RebuildRunning if another rebuild is running.
    """
    return replace(
        connect,
        lambda building: _fold(connect, building, workers, on_progress),
        on_folded,
        publisher,
    )


def replace(
    connect: Connect,
    fill: Callable[[str], int],
    on_filled: Callable[[Connection], None] | None = None,
    publisher: Publisher = notifications.DISABLED,
) -> int:
    """Let `fill` fill a new schema, catch it up with the log, and swap it with the live schema.

    Return the number of events folded, including the number that `fill` returns. Raise
    RebuildRunning if another rebuild is running.
    """
    building = f"{read_model_schema.schema_name()}_building"
    with contextlib.closing(connect()) as connection, hold_lock(connection):
        try:
            for left in (building, _former_name()):  # left by a rebuild that was killed
                drop(connection, left)
            # Read before the folds start, so that the swap folds every event replayed from here on.
            replayed = _find_replayed_positions(connection)
            read_model_schema.create(connection, building)
            folded = fill(building)
            if on_filled:
                on_filled(connection)
            with _hold_off_backups(connection):
                folded += _swap(connection, building, replayed, publisher)
                _drop_former(connection)
            snapshots.drop_orphans(connection)
        finally:
            drop(connection, building)
    return folded


@contextlib.contextmanager
def hold_lock(connection: Connection) -> Iterator[None]:
    """Hold the rebuild lock during the block; raise RebuildRunning if another rebuild holds it."""
    if not connection.run(_block("lock"))[0][0]:
        raise RebuildRunning("another rebuild is running: wait until it ends")
    try:
        yield
    finally:
        connection.run(_block("unlock"))


@contextlib.contextmanager
def _hold_off_backups(connection: Connection) -> Iterator[None]:
    """Prevent backups during the block, because a backup would mix the tables of two schemas."""
    schema = read_model_schema.schema_name()
    connection.run(_block("lock_backup"), schema=schema)
    try:
        yield
    finally:
        connection.run(_block("unlock_backup"), schema=schema)


def ensure(connect: Connect, publisher: Publisher = notifications.DISABLED) -> bool:
    """Create the live schema and fold the log into it; return False if the schema exists."""
    with contextlib.closing(connect()) as connection:
        if read_model_schema.exists(connection, read_model_schema.schema_name()):
            return False
        _, events = connection.run(_block("log_end"))[0]
        if not events:
            return read_model_schema.create(connection)
    run(connect, publisher=publisher)
    return True


def _fold(connect: Connect, building: str, workers: int, on_progress: Progress | None) -> int:
    """Fold the whole log into the new schema, on several connections in parallel.

    Each shard is one window, folded into tables without keys.
    """
    with contextlib.ExitStack() as stack:
        projectors = [
            stack.enter_context(open_projector(connect, building)) for _ in range(workers)
        ]
        first = projectors[0].connection
        _, total = first.run(_block("log_end"))[0]
        count = _Counter(total, on_progress)
        drop_keys(first)
        run_in_parallel(
            projectors, shard_projector.SHARDS, lambda p, shard: count.add(_fold_past(p, shard))
        )
        run_in_parallel(projectors, projectors, lambda p, _: create_keys(p.connection))
        count.add(projectors[0].catch_up_all())
        first.run(_block("analyze"))
        shares = [list(shard_projector.SHARDS)[n::workers] for n in range(workers)]
        run_in_parallel(projectors, shares, lambda p, share: batch.fold(p.connection, share))
    return count.folded


@contextlib.contextmanager
def open_projector(connect: Connect, building: str) -> Iterator[Projector]:
    """Open a projector for a schema that has no readers, tuned for large windows."""
    with contextlib.closing(connect()) as connection:
        connection.run(_block("tune"))
        yield Projector(connection, building)


def _fold_past(projector: Projector, shard: int) -> int:
    try:
        return projector.fold_window(shard, _WHOLE_SHARD) or 0
    except PoisonError as error:
        logs.write("WARNING", f"shard {shard} is folded in small windows: {error}")
        return 0


def drop_keys(connection: Connection) -> None:
    """Drop the keys of the large tables; `create_keys` creates them again."""
    connection.run(_block("drop_keys"))


def create_keys(connection: Connection) -> None:
    """Create the keys that are missing; several connections may do so in parallel."""
    while keys := connection.run(_block("next_key")):
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
        # Copies of this context keep the workers' log lines in the same trace.
        running = [
            pool.submit(contextvars.copy_context().run, work, projector) for projector in projectors
        ]
        try:
            for worker in running:
                worker.result()
        finally:
            stop.set()


class _Counter:
    """The number of events folded, shared by the workers."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.folded, self._total = 0, total
        self._lock, self._on_progress = threading.Lock(), on_progress
        self.add(0)

    def add(self, folded: int) -> None:
        with self._lock:
            self.folded += folded
            if self._on_progress:
                self._on_progress(self.folded, max(self._total, self.folded))


def _swap(connection: Connection, building: str, replayed: Replayed, publisher: Publisher) -> int:
    """Catch the new schema up and swap it in; return the number of events folded."""
    live = read_model_schema.schema_name()
    projector = Projector(connection, building)
    folded = _catch_up(projector, replayed)
    with database.transaction(connection):
        connection.run(_block("lock_all"), schema=live)
        folded += _catch_up(projector, replayed)
        version, known_at = connection.run(_block("mark_swap"))[0][0], time.monotonic()
        if read_model_schema.exists(connection, live):
            _rename(connection, live, _former_name())
        _rename(connection, building, live)
    publisher.publish_swap(version, known_at=known_at)
    # A wake-up that found its shard locked by the swap did nothing.
    return folded + Projector(connection, publisher=publisher).catch_up_all()


def _rename(connection: Connection, schema: str, name: str) -> None:
    connection.run(f"ALTER SCHEMA {identifier(schema)} RENAME TO {identifier(name)}")


def _catch_up(projector: Projector, replayed: Replayed) -> int:
    """Fold the new events and the replayed events; return the number of new events."""
    folded = projector.catch_up_all()
    for event in sorted(_find_replayed_positions(projector.connection) - replayed):
        replayed.add(event)
        projector.refold_event(event[0])
    return folded


def _find_replayed_positions(connection: Connection) -> Replayed:
    """Return the position and the replay time of each poisoned event that was replayed."""
    rows = connection.run(_block("replayed_events")) or []
    return {(position, since) for position, since in rows}


def _drop_former(connection: Connection) -> None:
    """Drop the replaced schema; if a reader such as pg_dump holds it, log a warning instead."""
    try:
        drop(connection, _former_name())
    except DatabaseUnavailable as error:
        logs.write("WARNING", f"{error}: the next rebuild or `progress contract` drops it")


def _former_name() -> str:
    return f"{read_model_schema.schema_name()}_retired"


def drop(connection: Connection, schema: str) -> None:
    """Drop a schema that may have readers: try once a second, for a minute.

    Raise DatabaseUnavailable if readers still hold the schema after this minute.
    """
    connection.run("SET lock_timeout = '1s'")
    try:
        _try_drop(connection, schema)
    finally:
        connection.run("RESET lock_timeout")


def _try_drop(connection: Connection, schema: str) -> None:
    for tries_left in reversed(range(_DROP_TRIES)):
        try:
            with database.translate_errors(_translate_in_use):
                read_model_schema.drop(connection, schema)
            return
        except DatabaseUnavailable as error:
            if not tries_left:
                raise DatabaseUnavailable(f"{schema} is still being read") from error.__cause__


def _translate_in_use(failure: Failure) -> DatabaseUnavailable | None:
    return DatabaseUnavailable(failure.message) if failure.sqlstate in _IN_USE else None


def _block(name: str) -> str:
    return statements.blocks("projections/rebuild")[name]
