"""Restore the log from the archive: fill an empty log, range by range, in one transaction."""

from typing import NamedTuple

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files, log_rows, runs
from progress.archive.catalogue import Catalogue, Progress, Range
from progress.archive.files import LocalFile
from progress.errors import ArchiveDamaged, ProgressError

_FILE = "archive/restore"


class Restored(NamedTuple):
    """The number of positions that were filled, and how many of them hold erased events."""

    positions: int
    erased: int


def run(connection: Connection, storage: Storage, on_progress: Progress) -> Restored:
    """Fill the log from the archive; hold the archive's lock meanwhile.

    The connection's role must own the log. Raise ArchiveRunning if another run works on the
    archive. Raise ProgressError if the log is not empty, if the archive lacks a file, or if a file
    or the restored rows differ from what they were. After an error, the log is unchanged.
    """
    with log_rows.hold_lock(connection):
        if catalogue.read(storage).outdated:
            raise ProgressError("restore this archive of version 0.4 by that version, then update")
        found = catalogue.require(storage)
        for path in found.unfinished:
            raise ArchiveDamaged(
                f"{path} of the archive belongs to a range without its file `others`: if the last "
                "run was killed, remove the range's folder; otherwise, this file is lost"
            )
        with database.transaction(connection):
            database.run(connection, _FILE, "hold appends")
            if not database.run(connection, _FILE, "is empty")[0][0]:
                raise ProgressError("the log is not empty: restore into a migrated, empty database")
            restored = _fill(connection, storage, found, on_progress)
        database.run(connection, _FILE, "analyze")
    return restored


def _fill(
    connection: Connection, storage: Storage, found: Catalogue, on_progress: Progress
) -> Restored:
    database.run(connection, _FILE, "erased rows")
    loaded = []
    for one in found.ranges:
        loaded.append(_load(connection, storage, one))
        on_progress(one.last, found.upto)
    database.run(connection, _FILE, "load erased rows")
    database.run(connection, _FILE, "load sessions")
    for one, measured in zip(found.ranges, loaded, strict=True):
        expected = log_rows.sum_rows(connection, one.positions, found.buckets)
        if runs.list_differing(measured, expected):
            raise ProgressError(
                f"the restored rows at the positions {one.first} to {one.last} differ from the "
                "archive: their sums are not those of its files"
            )
    if misplaced := database.run(connection, _FILE, "misplaced")[0][0]:
        raise ProgressError(
            f"this server hashes the streams of {misplaced} events to other shards than the server "
            "of the original log: use that server's PostgreSQL version"
        )
    return Restored(found.upto, sum(file.erased for file in found.files))


def _load(connection: Connection, storage: Storage, one: Range) -> dict[int | None, LocalFile]:
    """Load the rows of a range, in the order of their positions; return what its files hold."""
    with files.open_workspace() as workspace:
        paths = catalogue.fetch_all(storage, one.files, workspace.folder)
        measured = workspace.measure(paths)
        csv = workspace.folder / "rows.csv"
        for block, is_erased in (("load", False), ("keep", True)):
            workspace.write_csv(paths, csv, erased=is_erased)
            with csv.open("rb") as rows:
                database.run(connection, _FILE, block, stream=rows)
    return {file.bucket: measured[path] for file, path in zip(one.files, paths, strict=True)}
