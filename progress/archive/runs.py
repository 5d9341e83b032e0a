"""A run: copy the log into the archive, range by range, up to the last folded position."""

import contextlib
from collections.abc import Callable, Iterator

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, leftovers, log_rows, plan, publishing, ranges, repair
from progress.archive.log_rows import Positions
from progress.archive.manifest import Manifest
from progress.archive.plan import Request
from progress.errors import ProgressError

Progress = Callable[[int, int], None]


def run(
    connection: Connection, storage: Storage, buckets: int, request: Request, on_progress: Progress
) -> Manifest | None:
    """Archive the log; return the archive's manifest, or None if there is no archive yet.

    Hold the archive's lock meanwhile. Rewrite ranges that have lost files, and remove old files
    that no manifest names. Publish each new range before the next one is written. Raise
    ArchiveRunning if another run works on the archive.
    """
    with log_rows.hold_lock(connection):
        current = publishing.open_published(connection, storage)
        if current:
            current = repair.write_lost_ranges(connection, storage, current)
            leftovers.remove_old(storage, current.manifest)
        planned = plan.plan_ranges(connection, current, request)
        total = sum(positions.last - positions.first + 1 for positions in planned)
        done = 0
        for positions in planned:
            number = current.manifest.buckets if current else buckets
            with removing_failed(storage, positions):
                entry = ranges.write_verified(connection, storage, positions, number)
            current = publishing.publish(connection, storage, current, [entry], number)
            done += positions.last - positions.first + 1
            on_progress(done, total)
        return current.manifest if current else None


@contextlib.contextmanager
def removing_failed(storage: Storage, positions: Positions) -> Iterator[None]:
    """If the block fails, remove the range's files that no manifest names."""
    try:
        yield
    except ProgressError:
        with contextlib.suppress(ProgressError):
            current = catalog.read(storage)
            named = catalog.list_named(storage, current.manifest) if current else set[str]()
            ranges.remove(storage, positions, named)
        raise
