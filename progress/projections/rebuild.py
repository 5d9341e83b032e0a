"""A rebuild: every projection folded anew beside the live ones, then swapped in one transaction.

Events keep arriving and readers keep reading meanwhile: they see the old rows, then the new ones.
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

import pg8000.exceptions
from pg8000.native import identifier

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.errors import PoisonError, RebuildRunning, Unavailable
from progress.projections import batch, notifications, snapshots
from progress.projections import projector as shard_projector
from progress.projections import schema as read_model_schema
from progress.projections.projector import Projector

Connect = Callable[[], Connection]
Progress = Callable[[int, int], None]
Replayed = set[tuple[int, datetime]]
T = TypeVar("T")

_WHOLE_SHARD = 2**31 - 1
_DROP_TRIES = 60
_IN_USE = ("55P03", "40P01")  # it was waited for; a reader of several tables waited in turn


def run(
    connect: Connect,
    *,
    workers: int = 2,
    on_progress: Progress | None = None,
    on_folded: Callable[[Connection], None] | None = None,
) -> int:
    """Rebuild every projection and swap; the number of events folded.

    `on_progress(folded, all)` is called from the workers, `on_folded(connection)` before the
    swap, which that connection makes. Interrupted or failed, it leaves nothing behind.
    Raises RebuildRunning where another runs.
    """
    return replace(
        connect, lambda building: _fold(connect, building, workers, on_progress), on_folded
    )


def replace(
    connect: Connect,
    fill: Callable[[str], int],
    on_filled: Callable[[Connection], None] | None = None,
) -> int:
    """Put a schema that `fill` has filled in the live one's place, caught up with the log.

    How many events that took, with those that `fill` says. Raises as `run` does.
    """
    building = f"{read_model_schema.schema_name()}_building"
    with contextlib.closing(connect()) as connection, hold_lock(connection):
        try:
            for left in (building, _former_name()):  # by one that was killed
                drop(connection, left)
            counted = _find_replayed(connection)  # before any fold could leave one of them out
            read_model_schema.create(connection, building)
            folded = fill(building)
            if on_filled:
                on_filled(connection)
            with _hold_off_backups(connection):
                folded += _swap(connection, building, counted)
                _drop_former(connection)
            snapshots.drop_orphans(connection)
        finally:
            drop(connection, building)
    return folded


@contextlib.contextmanager
def hold_lock(connection: Connection) -> Iterator[None]:
    """For as long as the block lasts nobody else rebuilds. RebuildRunning where one does."""
    if not connection.run(_block("lock"))[0][0]:
        raise RebuildRunning("another rebuild is running: wait for its end")
    try:
        yield
    finally:
        connection.run(_block("unlock"))


@contextlib.contextmanager
def _hold_off_backups(connection: Connection) -> Iterator[None]:
    """No swap in the middle of a backup: its tables would be those of two schemas."""
    schema = read_model_schema.schema_name()
    connection.run(_block("lock_backup"), schema=schema)
    try:
        yield
    finally:
        connection.run(_block("unlock_backup"), schema=schema)


def ensure(connect: Connect, *, on_progress: Progress | None = None) -> bool:
    """Make the live schema where it is missing, folded up to the log; whether it was missing."""
    with contextlib.closing(connect()) as connection:
        if read_model_schema.exists(connection, read_model_schema.schema_name()):
            return False
        _, events = connection.run(_block("log_end"))[0]
        if not events:
            return read_model_schema.create(connection)
    run(connect, on_progress=on_progress)
    return True


def _fold(connect: Connect, building: str, workers: int, on_progress: Progress | None) -> int:
    """The whole log into the new schema, by several connections side by side.

    A shard without a past is folded in one window, into tables without keys.
    """
    with contextlib.ExitStack() as opened:
        projectors = [
            opened.enter_context(open_projector(connect, building)) for _ in range(workers)
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
    """One that fills a schema nobody reads yet, as fast as it can."""
    with contextlib.closing(connect()) as connection:
        connection.run(_block("tune"))
        yield Projector(connection, building)


def _fold_past(projector: Projector, shard: int) -> int:
    try:
        return projector.fold_window(shard, _WHOLE_SHARD) or 0
    except PoisonError as fault:
        logs.write("WARNING", f"shard {shard} is folded in small windows: {fault}")
        return 0


def drop_keys(connection: Connection) -> None:
    """Take the large tables' keys away, until `make_keys`."""
    connection.run(_block("drop_keys"))


def create_keys(connection: Connection) -> None:
    """Make those that are still to come; several connections may."""
    while keys := connection.run(_block("next_key")):
        connection.run(keys[0][0])


def run_in_parallel(
    projectors: list[Projector], tasks: Iterable[T], do: Callable[[Projector, T], object]
) -> None:
    """Every task once, by whichever projector is free; the first failure ends all."""
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
        # In copies of this context, so that what they log belongs to the same trace.
        running = [pool.submit(contextvars.copy_context().run, work, each) for each in projectors]
        try:
            for worker in running:
                worker.result()
        finally:
            stop.set()


class _Counter:
    """How many events are folded; the workers share it."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.folded, self._total = 0, total
        self._lock, self._on_progress = threading.Lock(), on_progress
        self.add(0)

    def add(self, folded: int) -> None:
        with self._lock:
            self.folded += folded
            if self._on_progress:
                self._on_progress(self.folded, max(self._total, self.folded))


def _swap(connection: Connection, building: str, counted: Replayed) -> int:
    """Put the new schema in the live one's place, caught up; how many events that were."""
    live = read_model_schema.schema_name()
    projector = Projector(connection, building)
    folded = _catch_up(projector, counted)
    with database.transaction(connection):
        connection.run(_block("lock_all"), schema=live)
        folded += _catch_up(projector, counted)
        version, known_at = connection.run(_block("mark_swap"))[0][0], time.monotonic()
        if read_model_schema.exists(connection, live):
            connection.run(
                f"ALTER SCHEMA {identifier(live)} RENAME TO {identifier(_former_name())}"
            )
        connection.run(f"ALTER SCHEMA {identifier(building)} RENAME TO {identifier(live)}")
    notifications.publish_swap(version, known_at=known_at)
    # A wake-up that found its shard held by the swap has gone away again.
    return folded + Projector(connection).catch_up_all()


def _catch_up(projector: Projector, counted: Replayed) -> int:
    """Fold what came since, and those that count again since: they are behind the checkpoint."""
    folded = projector.catch_up_all()
    for each in sorted(_find_replayed(projector.connection) - counted):
        counted.add(each)
        projector.refold_event(each[0])
    return folded


def _find_replayed(connection: Connection) -> Replayed:
    """The positions of events that were set aside and count again, and since when."""
    return {
        (position, since) for position, since in connection.run(_block("replayed_events")) or []
    }


def _drop_former(connection: Connection) -> None:
    """Drop what was replaced; where it is read still, as by a dump, that is left to the next."""
    try:
        drop(connection, _former_name())
    except Unavailable as fault:
        logs.write("WARNING", f"{fault}: the next rebuild drops it, or `progress contract`")


def _former_name() -> str:
    return f"{read_model_schema.schema_name()}_retired"


def drop(connection: Connection, schema: str) -> None:
    """Drop a schema that a reader may still be looking at: wait for it a second at a time.

    Unavailable where that takes a minute.
    """
    connection.run("SET lock_timeout = '1s'")
    try:
        _try_drop(connection, schema)
    finally:
        connection.run("RESET lock_timeout")


def _try_drop(connection: Connection, schema: str) -> None:
    for left in reversed(range(_DROP_TRIES)):
        try:
            read_model_schema.drop(connection, schema)
            return
        except pg8000.exceptions.DatabaseError as fault:
            if database.sqlstate(fault) not in _IN_USE:
                raise
            if not left:
                raise Unavailable(f"{schema} is being read still") from fault


def _block(name: str) -> str:
    return statements.blocks("projections/rebuild")[name]
