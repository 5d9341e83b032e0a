"""The erasure of a learner from the files of the archive.

`remove_stream` is the step `files` of ERASE_USER. Each file that holds the learner's stream is
written again without this stream. Streams that belong to no learner can have events that name a
session of the learner. An earlier step has emptied these events. The files that hold them are
written again without the emptied events. Until all new files are written, the archive's manifest
names the old files. If a run is interrupted, the next run can therefore start from the beginning.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows, manifests, ranges
from progress.archive.files import Selection, Sums
from progress.archive.manifests import File, Published, RangeEntry, RangeManifest
from progress.errors import ProgressError


class Removal(NamedTuple):
    """The number of files that held rows to remove, and the number of removed rows."""

    files: int
    rows: int


class _Target(NamedTuple):
    """The rows to remove: a learner's stream, and emptied events in streams without a learner."""

    bucket: int
    stream_id: str
    emptied: list[int]  # positions in ascending order

    def select(self, contents: RangeManifest, file: File) -> Selection | None:
        """Return the rows to remove from a file of the range; None if the file has none."""
        if file.bucket == self.bucket:
            return Selection(self.stream_id)
        if file.bucket is not None:
            return None
        removed = {row.position for row in contents.erased}
        begin, end = bisect_left(self.emptied, file.first), bisect_right(self.emptied, file.last)
        positions = [p for p in self.emptied[begin:end] if p not in removed]
        return Selection(self.stream_id, positions) if positions else None


def remove_stream(
    connection: Connection,
    storage: Storage,
    stream_id: str,
    report_progress: Callable[[float], None],
) -> Removal:
    """Remove a learner's stream from the archive's files.

    Also remove the emptied events in streams that belong to no learner. Then remove each file that
    no manifest names, with all its generations. Before the call, the stream's events must have been
    emptied, and further events of the stream must have been forbidden. Raise ArchiveRunning if
    another run holds the archive's lock, and ProgressError if a file is damaged.
    """
    with log_rows.hold_lock(connection):
        current = manifests.read(storage)
        removal = Removal(0, 0)
        if current:
            manifests.check_log(connection, current.manifest)
            bucket = log_rows.bucket_of(connection, stream_id, current.manifest.buckets)
            target = _Target(bucket, stream_id, log_rows.list_emptied_others(connection))
            removal = _rewrite(connection, storage, current, target, report_progress)
            current = manifests.read(storage)
        manifests.remove_all(storage, current.manifest if current else None)
    return removal


def _rewrite(
    connection: Connection,
    storage: Storage,
    current: Published,
    target: _Target,
    report_progress: Callable[[float], None],
) -> Removal:
    entries: list[RangeEntry] = []
    removed_files = removed_rows = 0
    for done, entry in enumerate(current.manifest.ranges):
        report_progress(done / len(current.manifest.ranges))
        contents = manifests.read_range(storage, entry)
        rewritten = _rewrite_range(connection, storage, contents, target)
        if rewritten:
            entries.append(manifests.put_range(storage, rewritten))
            removed_files += len([file for file in contents.files if file not in rewritten.files])
            removed_rows += contents.events - rewritten.events
    # Publish even if no range has changed: the manifest contains ids of events, and the erasure has
    # given new ids to the emptied events.
    manifests.publish(connection, storage, current, entries, current.manifest.buckets)
    return Removal(removed_files, removed_rows)


def _rewrite_range(
    connection: Connection, storage: Storage, contents: RangeManifest, target: _Target
) -> RangeManifest | None:
    """Write the range's files without the target's rows; return None if it has no such rows."""
    kept, new, positions = list[File](), list[File](), list[int]()
    for file in contents.files:
        selection = target.select(contents, file)
        rewritten = _rewrite_file(storage, contents, file, selection) if selection else None
        if rewritten:
            positions += rewritten.positions
            new += rewritten.files
        else:
            kept.append(file)
    if not positions:
        return None
    recorded_from, recorded_to = manifests.recorded_times(connection, kept + new)
    changed = msgspec.structs.replace(
        contents,
        files=kept + new,
        events=contents.events - len(positions),
        recorded_from=recorded_from,
        recorded_to=recorded_to,
        erased=sorted(
            [*contents.erased, *log_rows.describe_removed(connection, positions)],
            key=lambda row: row.position,
        ),
    )
    manifests.check_stored(storage, msgspec.structs.replace(changed, files=new))
    return changed


class _Rewritten(NamedTuple):
    """The positions of the removed rows; `files` has the new file, if a row is left."""

    positions: list[int]
    files: list[File]


def _rewrite_file(
    storage: Storage, contents: RangeManifest, old: File, selection: Selection
) -> _Rewritten | None:
    """Write a file again without the selected rows; return None if no row is selected."""
    with files.open_workspace() as workspace:
        local = workspace.folder / "old.parquet"
        manifests.fetch(storage, contents, old, local)
        positions = workspace.positions_of(local, selection)
        if not positions:
            return None
        left = workspace.write_without(local, selection)
        expected = Sums(old.rows, *old.sums).minus(workspace.sums_of(local, selection))
        if (left.sums if left else Sums()) != expected:
            raise ProgressError(f"{old.name}: rows other than the selected rows were removed")
        folder = manifests.folder(contents.first, contents.last)
        new = [ranges.store(storage, folder, old.bucket, left)] if left else []
    return _Rewritten(positions, new)
