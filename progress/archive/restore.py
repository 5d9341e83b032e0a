"""Restore the log from the archive: fill an empty log, range by range, in one transaction."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows, manifests, ranges
from progress.archive.files import Sums, Workspace
from progress.archive.log_rows import ErasedRow
from progress.archive.manifests import ArchiveManifest, Progress, RangeManifest
from progress.errors import ProgressError

_FILE = "archive/restore"
_LAST = 1 << 63  # greater than every version, so that rows without a version are sorted last


class Restored(NamedTuple):
    """The number of positions that were filled, and how many of them hold erased events."""

    positions: int
    erased: int


def run(connection: Connection, storage: Storage, on_progress: Progress) -> Restored:
    """Fill the log from the archive; hold the archive's lock meanwhile.

    The connection's role must own the log. Raise ArchiveRunning if another run works on the
    archive. Raise ProgressError if the log is not empty, or if a file or the restored rows differ
    from the manifests. After an error, the log is unchanged.
    """
    with log_rows.hold_lock(connection):
        published = manifests.read(storage)
        if published is None:
            raise ProgressError("there is no archive: check ARCHIVE_BUCKET")
        with database.transaction(connection):
            database.run(connection, _FILE, "hold appends")
            if not database.run(connection, _FILE, "is empty")[0][0]:
                raise ProgressError("the log is not empty: restore into a migrated, empty database")
            restored = _fill(connection, storage, published.manifest, on_progress)
        database.run(connection, _FILE, "analyze")
    return restored


def _fill(
    connection: Connection, storage: Storage, published: ArchiveManifest, on_progress: Progress
) -> Restored:
    contents = manifests.read_ranges(storage, published)
    check_positions(contents, published.upto)
    for one in contents:
        _load(connection, storage, one)
        on_progress(one.last, published.upto)
    erased = [row for one in contents for row in one.erased]
    _load_erased(connection, erased)
    database.run(connection, _FILE, "load sessions")
    for one in contents:
        if ranges.differing_buckets(connection, one, published.buckets):
            raise ProgressError(
                f"the restored rows at the positions {one.first} to {one.last} differ from the "
                "archive: their sums are not those in the manifest"
            )
    if misplaced := database.run(connection, _FILE, "misplaced")[0][0]:
        raise ProgressError(
            f"this server hashes the streams of {misplaced} events to other shards than the server "
            "of the original log: use that server's PostgreSQL version"
        )
    return Restored(published.upto, len(erased))


def check_positions(contents: list[RangeManifest], upto: int) -> None:
    """Raise ProgressError unless there is one row for each position from 1 to `upto`."""
    following = 1
    for one in contents:
        rows = one.events + len(one.erased)
        if one.first != following or rows != one.last - one.first + 1:
            raise ProgressError(f"the archive has a gap after position {following - 1}")
        following = one.last + 1
    if following != upto + 1:
        raise ProgressError(f"the archive ends at position {following - 1}, not at {upto}")


def _load(connection: Connection, storage: Storage, contents: RangeManifest) -> None:
    """Load the rows of a range, in the order of their positions."""
    with files.open_workspace() as workspace:
        paths = _fetch(storage, workspace, contents)
        if not paths:
            return
        csv = workspace.folder / "rows.csv"
        workspace.write_csv(paths, csv)
        with csv.open("rb") as rows:
            database.run(connection, _FILE, "load", stream=rows)


def _fetch(storage: Storage, workspace: Workspace, contents: RangeManifest) -> list[Path]:
    """Copy the files of a range to this machine; check their hashes, rows and sums."""
    parts = [(contents, file) for file in contents.files]
    paths = manifests.fetch_all(storage, parts, workspace.folder)
    measured = workspace.measure(paths)
    for file, path in zip(contents.files, paths, strict=True):
        if measured[path].sums != Sums(file.rows, *file.sums):
            raise manifests.damaged(manifests.file_path(contents, file.name))
    return paths


def _load_erased(connection: Connection, erased: list[ErasedRow]) -> None:
    """Load the emptied rows.

    Rows that stayed in their own streams keep their stream versions. All other rows go to their
    shard's stream of erased events, and get new stream versions there: 1, 2, 3 …. Of these rows,
    those with a stream version in the archive's manifests come first, in the order of these
    versions. The others follow, in the order of their positions.
    """
    streams = dict(database.run(connection, _FILE, "erased streams"))
    versions: Counter[int] = Counter()

    def encode(row: ErasedRow) -> bytes:
        stream, version = row.stream_id, row.stream_version
        if stream is None:
            versions[row.shard] += 1
            stream, version = streams[row.shard], versions[row.shard]
        event_id, time = row.event_id or uuid4(), row.recorded_at.isoformat()
        quoted = '"' + stream.replace('"', '""') + '"'
        values = (row.position, event_id, quoted, version, "Erased", "{}", "{}", time, time)
        return f"{','.join(map(str, values))},{row.shard}\n".encode()

    in_order = sorted(erased, key=lambda row: (row.stream_version or _LAST, row.position))
    database.run(connection, _FILE, "load", stream=map(encode, in_order))
