"""Rebuild the read models from the archive: fold its files, catch up with the log, swap.

The rebuild holds the archive's lock until all buckets are loaded, so that the archive's files do
not change.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from progress.adapters import storage
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connect
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files, log_rows
from progress.archive.catalogue import Catalogue, Progress
from progress.errors import ProgressError
from progress.projections import batch, definitions, rebuild, replacement
from progress.projections.projector import SHARDS, Projector
from progress.projections.replacement import Holder
from progress.recovery import archive_loads, ledger_erasures, rebuild_units
from progress.recovery.archive_loads import Rebuild

_FILE = "recovery/archive_rebuild"
_WORKERS = 2  # connections that create keys and catch up


class Source(NamedTuple):
    """The archive and the database of a rebuild, as arguments of `rebuild_units.process`."""

    archive: str
    database: str | None


# An engine loads every bucket of the rebuild. Meanwhile, it calls its last argument repeatedly, to
# report the progress.
Engine = Callable[[Source, Rebuild, Callable[[], None]], None]


def run(
    connect: Connect,
    source: Source,
    engine: Engine,
    on_progress: Progress,
    *,
    erased: Collection[str] = (),
) -> int:
    """Rebuild every projection and swap the schemas; return the number of events folded.

    `erased` are the digests of erased learners. Raise RebuildRunning if the lock of rebuilds is
    held, ArchiveRunning if another process works on the archive, and ProgressError if the archive
    cannot be used. A rebuild that fails or is interrupted leaves nothing behind.
    """
    with replacement.open_replacement(connect, Holder.ARCHIVE_REBUILD) as second:
        stored = storage.open_storage(source.archive)
        with rebuild.open_projectors(connect, _WORKERS) as workers:
            filling = _Filling(workers, stored, on_progress)
            # Erasures must not change the second schema while rows are loaded into it.
            building = replacement.building_name()
            held = database.hold(second, _FILE, "lock shards", schema=building)
            with log_rows.hold_lock(second), held:
                found = catalogue.require(stored)
                catalogue.check_log(second, stored, found)
                try:
                    number = filling.begin(found)
                    filling.load(engine, source, number)
                finally:
                    rebuild_units.remove_shared(stored)
                filling.end(found, number, erased)
            folded = filling.catch_up()
        return folded + replacement.swap(second)


class _Filling:
    """The steps that fill the second schema."""

    def __init__(self, workers: list[Projector], stored: Storage, on_progress: Progress) -> None:
        self._workers, self._stored = workers, stored
        self._connection, self._on_progress = workers[0].connection, on_progress
        self._folded = self._expected = 0
        _, self._total = database.run(self._connection, "projections/rebuild", "log_end")[0]

    def begin(self, found: Catalogue) -> Rebuild:
        """Drop the keys, load the catalogue, and record the rebuild."""
        self._report(0)
        self._expected = sum(file.rows for file in found.files if file.bucket is not None)
        rebuild.drop_keys(self._connection)
        rebuild_units.remove_shared(self._stored)
        with files.open_folder() as folder, database.transaction(self._connection):
            begun = archive_loads.begin(self._connection, found.buckets, found.upto)
            log, events = rebuild_units.fetch(self._stored, found.files, folder, None)
            catalogue = rebuild_units.fold_catalogue(folder, log, begun)
            archive_loads.load_tables(self._connection, catalogue.tables)
            rebuild_units.store_shared(self._stored, begun.version, catalogue.shared)
        self._report(events)
        return begun

    def load(self, engine: Engine, source: Source, begun: Rebuild) -> None:
        """Let the engine load all buckets; raise ProgressError if buckets or events are missing."""
        before = self._folded

        def report() -> None:
            self._folded = before
            self._report(archive_loads.count_loaded(self._connection))

        engine(source, begun, report)
        if missing := database.run(self._connection, _FILE, "missing buckets"):
            raise ProgressError(
                f"{len(missing)} of {begun.buckets} buckets were not loaded, the first one is "
                f"{missing[0][0]}: run the rebuild again"
            )
        if (loaded := archive_loads.count_loaded(self._connection)) != self._expected:
            raise ProgressError(
                f"{loaded} events were loaded, but the archive's files have {self._expected}: run "
                "the rebuild again"
            )

    def end(self, found: Catalogue, begun: Rebuild, erased: Collection[str]) -> None:
        """Create the keys and the checkpoints; remove erased learners and the rebuild's record."""
        if rows := database.run(self._connection, _FILE, "poisoned since"):
            raise ProgressError(
                f"the event at position {rows[0][0]} was poisoned after the rebuild "
                "began: run the rebuild again"
            )
        archive_loads.end(self._connection)
        rebuild.run_in_parallel(
            self._workers, self._workers, lambda worker, _: rebuild.create_keys(worker.connection)
        )
        for table in definitions.SUMS:
            self._connection.run(definitions.fill_statement(table))
        values = {"upto": found.upto, "version": begun.version}
        database.run(self._connection, _FILE, "checkpoints", **values)
        ledger_erasures.forget(self._connection, erased)
        database.run(self._connection, _FILE, "request snapshots")
        database.run(self._connection, "projections/rebuild", "analyze")

    def catch_up(self) -> int:
        """Fold later events, then the batch models; return the number, with the archived ones."""
        rebuild.run_in_parallel(
            self._workers, SHARDS, lambda worker, shard: self._report(worker.catch_up(shard))
        )
        batch.fold(self._connection, list(SHARDS))
        return self._folded

    def _report(self, events: int) -> None:
        self._folded += events
        self._on_progress(self._folded, max(self._total, self._folded))
