"""The erasure of a learner from the files of the archive.

`remove_stream` is the step `files` of ERASE_USER. Each file that holds the learner's stream is
written again, with the emptied events of the log instead. Streams that belong to no learner can
have events that name a session of the learner. An earlier step has emptied these events, too, and
the files that hold them are written again. Each new file is complete before the old one is removed.
If a run is interrupted, the next one can therefore start from the beginning.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files, log_rows
from progress.archive.catalogue import File, Range
from progress.archive.files import Selection, Sums
from progress.errors import ProgressError


class Removal(NamedTuple):
    """The number of files that held rows to remove, and the number of removed rows."""

    files: int
    rows: int


def remove_stream(
    connection: Connection,
    storage: Storage,
    stream_id: str,
    report_progress: Callable[[float], None],
) -> Removal:
    """Remove a learner's stream from the archive's files.

    Also remove the emptied events in streams that belong to no learner. Then remove each file that
    does not count, with all its generations. Before the call, the stream's events must have been
    emptied, and further events of the stream must have been forbidden. Raise ArchiveRunning if
    another run holds the archive's lock, and ProgressError if a file is damaged.
    """
    removed: list[int] = []
    with log_rows.hold_lock(connection):
        found = catalogue.settle(connection, storage)
        bucket = None
        if found.ranges:
            bucket = log_rows.bucket_of(connection, stream_id, found.buckets)
        emptied = log_rows.list_emptied_others(connection)
        for done, one in enumerate(found.ranges):
            report_progress(done / len(found.ranges))
            for file in one.files:
                if file.bucket == bucket:
                    selection = Selection(stream_id)
                elif file.bucket is None:
                    begin, end = bisect_left(emptied, one.first), bisect_right(emptied, one.last)
                    selection = Selection(stream_id, emptied[begin:end])
                    if file.erased == len(selection.positions):
                        continue
                else:
                    continue
                if rows := _rewrite(connection, storage, one, file, selection):
                    removed.append(rows)
        kept = {file.path for file in catalogue.read(storage).files}
        for stored in list(storage.list_tree(catalogue.FOLDER, former=True)):
            if stored.path not in kept:
                storage.purge(stored.path)
        storage.purge(catalogue.MANIFEST)
    return Removal(len(removed), sum(removed))


def _rewrite(
    connection: Connection, storage: Storage, one: Range, file: File, selection: Selection
) -> int:
    """Write a file again with emptied rows, and remove it; return the number of these rows."""
    with files.open_workspace() as workspace:
        (path,) = catalogue.fetch_all(storage, [file], workspace.folder)
        positions, gone = workspace.select(path, selection)
        if not positions:
            return 0
        csv = workspace.folder / "emptied.csv"
        with csv.open("wb") as emptied:
            log_rows.copy_erased(connection, positions, emptied)
        new = workspace.replace(path, selection, csv)
        is_whole = new.sums.rows + new.erased.rows == file.rows
        if not is_whole or Sums.total([new.sums, gone]) != workspace.measure([path])[path].sums:
            raise ProgressError(f"{file.path}: other rows than the emptied ones were replaced")
        catalogue.store(storage, one, file.bucket, file.buckets, new)
        storage.purge(file.path)
    return len(positions)
