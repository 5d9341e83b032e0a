"""Restore a backup: load it into a second schema, catch up with the log, swap the schemas."""

import threading
from collections.abc import Collection

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connect, Connection
from progress.adapters.storage.storage import Storage
from progress.archive.manifests import Progress
from progress.errors import CheckpointError, ProgressError
from progress.projections import batch, changes, projector, rebuild, replacement
from progress.projections.changes import Publisher
from progress.projections.projector import Projector
from progress.projections.replacement import Holder
from progress.recovery import backups, erasures
from progress.recovery.backups import Manifest, Table

_FILE = "recovery/backups"
_WORKERS = 2
_ADVICE = "run `progress rebuild`"


def run(
    connect: Connect,
    storage: Storage,
    on_progress: Progress,
    publisher: Publisher = changes.DISABLED,
    *,
    erased: Collection[str] = (),
) -> tuple[Manifest, int]:
    """Replace the live read models with the newest backup, without the erased learners.

    The log and the ledger of erasures record the erased learners; `erased` are the ledger's
    digests. Return the manifest and the number of events after the backup. Raise ProgressError if
    no backup was made with the current folds, and CheckpointError if the backup was made from
    another log. After either error, rebuild instead. A run that fails or is interrupted leaves
    nothing behind.
    """
    name, backup = backups.find_newest(storage)
    loader = _Loader(storage, name, backup, on_progress)
    with replacement.open_replacement(connect, publisher, Holder.RESTORE) as second:
        # If a poisoned event is replayed after this check, the swap folds the event.
        _check(second.connection, backup)
        folded = loader.fill(connect, replacement.building_name(), erased)
        return backup, folded + second.swap()


def _check(connection: Connection, backup: Manifest) -> None:
    """Raise CheckpointError if events of the backup are not in the log.

    Raise it also if the log's poisoned events differ from those of the backup.
    """
    head = database.run(connection, "projections/rebuild", "log_end")[0][0]
    if backup.head > head:
        raise CheckpointError(
            f"the backup covers the log up to {backup.head}, but the log ends at {head}: "
            "run `progress rebuild`"
        )
    if shards := backups.find_missing(connection, backup.checkpoints):
        raise CheckpointError(
            f"the backup was made from another log (shard {shards[0]}): run `progress rebuild`"
        )
    rows = database.run(connection, _FILE, "not erased", positions=backup.quarantined)
    if backups.quarantined(connection, backup.checkpoints) != [position for (position,) in rows]:
        raise CheckpointError(
            "events were poisoned or replayed since the backup: run `progress rebuild`"
        )


class _Loader:
    """A loader, which fills a new schema from a backup."""

    def __init__(
        self, storage: Storage, name: str, backup: Manifest, on_progress: Progress
    ) -> None:
        self._storage, self._name, self._backup = storage, name, backup
        self._on_progress, self._lock, self._rows = on_progress, threading.Lock(), 0
        self._total = sum(table.rows for table in backup.tables)

    def fill(self, connect: Connect, building: str, erased: Collection[str]) -> int:
        """Load all tables; then fold the events after the backup, and return their number."""
        with rebuild.open_projectors(connect, _WORKERS) as workers:
            first = workers[0].connection
            self._raise_if_incomplete(first, building)
            rebuild.drop_keys(first)
            rebuild.run_in_parallel(
                workers,
                self._backup.tables,
                lambda worker, table: self._load(worker, building, table),
            )
            rebuild.run_in_parallel(
                workers, workers, lambda worker, _: rebuild.create_keys(worker.connection)
            )
            self._renumber(first)
            erasures.forget(first, erased)
            database.run(first, _FILE, "request snapshots")
            database.run(first, "projections/rebuild", "analyze")
            since = workers[0].catch_up_all()
            batch.fold(first, list(projector.SHARDS))
        return since

    def _raise_if_incomplete(self, connection: Connection, building: str) -> None:
        """Raise ProgressError if the backup lacks a table, because this table would stay empty."""
        tables = database.run(connection, _FILE, "tables", schema=building)
        names = {table.name for table in self._backup.tables}
        if lacking := next((name for name, _, _ in tables if name not in names), None):
            raise ProgressError(f"the backup has no table {lacking}: run `progress rebuild`")

    def _load(self, worker: Projector, building: str, table: Table) -> None:
        connection = worker.connection
        statements = database.run(connection, _FILE, "load", schema=building, name=table.name)
        if not statements:
            raise ProgressError(
                f"the current folds have no table {table.name}: run `progress rebuild`"
            )
        data = self._storage.reading(f"{self._name}/{table.name}.gz")
        with database.transaction(connection):
            connection.run(statements[0][0])
            backups.load_table(connection, data, table, statements[0][1], _ADVICE)
        with self._lock:
            self._rows += table.rows
            self._on_progress(self._rows, self._total)

    def _renumber(self, connection: Connection) -> None:
        (version,) = database.run(connection, _FILE, "current version")[0]
        if version <= self._backup.version:
            database.run(connection, _FILE, "renumber")
