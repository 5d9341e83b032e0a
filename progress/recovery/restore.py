"""A backup of the read models put back: beside the live ones, caught up with the log, swapped."""

import contextlib
import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator

import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import CheckpointError, ProgressError
from progress.projections import batch, notifications, projector, rebuild
from progress.projections.notifications import Publisher
from progress.projections.projector import Projector
from progress.recovery import backups
from progress.recovery.manifest import Manifest, Table
from progress.recovery.storage import Storage

Connect = Callable[[], Connection]
Progress = Callable[[int, int], None]

_WORKERS = 2


def run(
    connect: Connect,
    storage: Storage,
    on_progress: Progress,
    publisher: Publisher = notifications.DISABLED,
) -> tuple[Manifest, int]:
    """Put the newest whole backup in the live read models' place; how many events came after it.

    ProgressError where none fits these folds, CheckpointError where it was made from another log:
    then a rebuild is needed. Failed or interrupted, it leaves nothing behind.
    """
    name, found = backups.newest(storage)
    loading = _Loading(storage, name, found, on_progress)

    def fill(building: str) -> int:
        with contextlib.closing(connect()) as connection:
            _check(connection, found)  # what counts again from here on, the swap folds
        return loading.fill(connect, building)

    return found, rebuild.replace(connect, fill, publisher=publisher)


def _check(connection: Connection, found: Manifest) -> None:
    """That every event in the rows is in the log, and no event of it was set aside or came back."""
    head = connection.run(blocks("projections/rebuild")["log_end"])[0][0]
    if found.head > head:
        raise CheckpointError(
            f"the backup knows the log up to {found.head}, and it ends at {head}: "
            "run `progress rebuild`"
        )
    shards = connection.run(
        blocks("recovery/backups")["missing"],
        shards=[each.shard for each in found.checkpoints],
        positions=[each.position for each in found.checkpoints],
        event_ids=[each.event_id for each in found.checkpoints],
    )
    if shards:
        raise CheckpointError(
            f"the backup is of another log (shard {shards[0][0]}): run `progress rebuild`"
        )
    if backups.set_aside(connection, found.checkpoints) != found.set_aside:
        raise CheckpointError(
            "events were set aside, or count again, since the backup: run `progress rebuild`"
        )


class _Loading:
    """The tables of a backup on their way into a new schema."""

    def __init__(self, storage: Storage, name: str, found: Manifest, on_progress: Progress) -> None:
        self._storage, self._name, self._found = storage, name, found
        self._on_progress, self._lock, self._rows = on_progress, threading.Lock(), 0
        self._total = sum(table.rows for table in found.tables)

    def fill(self, connect: Connect, building: str) -> int:
        """Load all of it; how many events came after it, which are folded too."""
        with contextlib.ExitStack() as opened:
            workers = [
                opened.enter_context(rebuild.open_projector(connect, building))
                for _ in range(_WORKERS)
            ]
            first = workers[0].connection
            self._see_all(first, building)
            rebuild.drop_keys(first)
            rebuild.run_in_parallel(
                workers,
                self._found.tables,
                lambda worker, table: self._load(worker, building, table),
            )
            rebuild.run_in_parallel(
                workers, workers, lambda worker, _: rebuild.create_keys(worker.connection)
            )
            self._renumber(first)
            first.run(blocks("recovery/backups")["look again"])
            first.run(blocks("projections/rebuild")["analyze"])
            since = workers[0].catch_up_all()
            batch.fold(first, list(projector.SHARDS))
        return since

    def _see_all(self, connection: Connection, building: str) -> None:
        """ProgressError where the backup leaves a table out: it would stay empty."""
        tables = connection.run(blocks("recovery/backups")["tables"], schema=building) or []
        there = {table.name for table in self._found.tables}
        if lacking := next((name for name, _, _ in tables if name not in there), None):
            raise ProgressError(f"the backup has no table {lacking}: run `progress rebuild`")

    def _load(self, worker: Projector, building: str, table: Table) -> None:
        connection = worker.connection
        sql = blocks("recovery/backups")["put back"]
        found = connection.run(sql, schema=building, name=table.name)
        if not found:
            raise ProgressError(f"these folds have no table {table.name}: run `progress rebuild`")
        rows = _Rows(self._storage.reading(f"{self._name}/{table.name}.gz"))
        try:
            with database.transaction(connection):
                connection.run(found[0][0])
                connection.run(found[0][1], stream=rows.parts())
                rows.check(table, connection.row_count)
        except pg8000.exceptions.DatabaseError as fault:
            raise _bad(table, database.message(fault)) from fault
        with self._lock:
            self._rows += table.rows
            self._on_progress(self._rows, self._total)

    def _renumber(self, connection: Connection) -> None:
        (now,) = connection.run(blocks("recovery/backups")["version now"])[0]
        if now <= self._found.version:
            connection.run(blocks("recovery/backups")["renumber"])


class _Rows:
    """A table's rows as they are read; what is wrong is told at the end, not amid the COPY."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data, self._digest = data, hashlib.sha256()
        self._fault: Exception | None = None

    def parts(self) -> Iterator[bytes]:
        """All that is good of them."""
        try:
            yield from backups.unpacked(self._data, self._digest)
        except (zlib.error, ProgressError) as fault:
            self._fault = fault

    def check(self, table: Table, rows: int) -> None:
        """ProgressError where they are not those that the backup says."""
        if self._fault is None and self._digest.hexdigest() == table.sha256 and rows == table.rows:
            return
        raise _bad(table, self._fault or "it is not what was written")


def _bad(table: Table, why: object) -> ProgressError:
    return ProgressError(f"{table.name}.gz cannot be restored ({why}): run `progress rebuild`")
