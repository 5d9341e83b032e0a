"""The erasure of a learner from the archive: the step `files` of ERASE_USER.

Each file that holds the learner's stream is written again without it. Until all new files are
written, the archive's manifest names the old ones. So the next run can start over after an
interruption.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, files, leftovers, log_rows, manifest, publishing, ranges
from progress.archive.catalog import Published
from progress.archive.files import LocalFile, Sums, Workspace
from progress.archive.manifest import File, RangeEntry, RangeManifest
from progress.errors import ProgressError

Progress = Callable[[float], None]


class Removal(NamedTuple):
    """What was removed: the files that held the stream, and its rows."""

    files: int
    rows: int


def remove_stream(
    connection: Connection, storage: Storage, stream_id: str, report_progress: Progress
) -> Removal:
    """Remove a learner's stream from every file of the archive.

    Raise ArchiveRunning if another run holds the archive's lock, and ProgressError if a file is
    damaged. Before the call, the stream's events must be emptied and new ones must be forbidden.
    Files that no manifest names are removed too, and so are their former generations.
    """
    with log_rows.hold_lock(connection):
        current = catalog.read(storage)
        removal = Removal(0, 0)
        if current:
            publishing.check_log(connection, current.manifest)
            removal = _rewrite(connection, storage, current, stream_id, report_progress)
            current = catalog.read(storage)
        leftovers.remove_all(storage, current.manifest if current else None)
    return removal


def _rewrite(
    connection: Connection,
    storage: Storage,
    current: Published,
    stream_id: str,
    report_progress: Progress,
) -> Removal:
    bucket = log_rows.bucket_of(connection, stream_id, current.manifest.buckets)
    entries: list[RangeEntry] = []
    removed_files = removed_rows = 0
    for done, entry in enumerate(current.manifest.ranges):
        report_progress(done / len(current.manifest.ranges))
        contents = catalog.read_range(storage, entry)
        rewritten = _rewrite_range(connection, storage, contents, bucket, stream_id)
        if rewritten:
            entries.append(catalog.put_range(storage, rewritten))
            removed_files += 1
            removed_rows += contents.events - rewritten.events
    # Publish even without new ranges: the ids of events that the manifest names may have changed.
    publishing.publish(connection, storage, current, entries, current.manifest.buckets)
    return Removal(removed_files, removed_rows)


def _rewrite_range(
    connection: Connection, storage: Storage, contents: RangeManifest, bucket: int, stream_id: str
) -> RangeManifest | None:
    """Write the bucket's file without the stream; None if the range has no rows of the stream."""
    old = next((file for file in contents.files if file.bucket == bucket), None)
    if old is None:
        return None
    with files.open_workspace() as workspace:
        local = workspace.folder / "old.parquet"
        catalog.fetch(storage, contents, old, local)
        positions = workspace.positions_of_stream(local, stream_id)
        if not positions:
            return None
        left = _write_without(workspace, local, old, stream_id)
        folder = manifest.folder(contents.first, contents.last)
        new = [ranges.store(storage, folder, bucket, left)] if left else []
    kept = [file for file in contents.files if file is not old] + new
    recorded_from, recorded_to = log_rows.recorded_times(connection, kept)
    rewritten = msgspec.structs.replace(
        contents,
        files=kept,
        events=contents.events - len(positions),
        recorded_from=recorded_from,
        recorded_to=recorded_to,
        erased=sorted(
            [*contents.erased, *log_rows.describe_removed(connection, positions)],
            key=lambda row: row.position,
        ),
    )
    catalog.check_stored(storage, msgspec.structs.replace(rewritten, files=new))
    return rewritten


def _write_without(
    workspace: Workspace, local: Path, old: File, stream_id: str
) -> LocalFile | None:
    """Write the file without the stream; check that exactly the stream's rows are gone."""
    left = workspace.write_without(local, stream_id)
    expected = Sums(old.rows, *old.sums).minus(workspace.sums_of_stream(local, stream_id))
    if (left.sums if left else Sums()) != expected:
        raise ProgressError(f"{old.name}: more or other rows than those of a stream were removed")
    return left
