"""The steps of ARCHIVE. If a worker dies, another one repeats its step.

A worker holds the archive's lock from its first step to its end. The archive or the log may change
before another worker takes over. That worker then writes the ranges again.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import (
    catalog,
    leftovers,
    location,
    log_rows,
    merges,
    plan,
    publishing,
    ranges,
    repair,
)
from progress.archive.catalog import Published
from progress.archive.log_rows import Positions
from progress.archive.manifest import RangeEntry
from progress.archive.plan import Request
from progress.errors import ProgressError, Unavailable
from progress.operations import step_connections
from progress.operations.claim import ClaimedOperation
from progress.operations.step_connections import connection_for, parse_arguments

_MAX_RANGES = 100  # of one operation; the next one continues


class ArchiveArguments(msgspec.Struct, frozen=True):
    """The arguments of ARCHIVE; without `before`, only full and old ranges are archived."""

    before: datetime | None = None


class PlannedRanges(msgspec.Struct, frozen=True):
    """The outcome of the first step: the positions to archive, and the number of buckets."""

    positions: list[Positions]
    buckets: int


class WrittenRanges(msgspec.Struct, frozen=True):
    """The outcome of the second and the third step."""

    entries: list[RangeEntry]
    events: int = 0


def choose_range(operation: ClaimedOperation) -> object:
    """Return the positions to archive, and the number of buckets."""
    request = Request(before=parse_arguments(operation, ArchiveArguments).before)
    connection, storage = _open(operation)
    current = publishing.open_published(connection, storage)
    planned = plan.plan_ranges(connection, current, request)[:_MAX_RANGES]
    buckets = current.manifest.buckets if current else settings.current().archive_buckets
    return PlannedRanges(planned, buckets)


def write(operation: ClaimedOperation) -> object:
    """Repair, clean and merge what the archive has, then write the files of the new ranges."""
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    connection, storage = _open(operation)
    if current := publishing.open_published(connection, storage):
        current = repair.write_lost_ranges(connection, storage, current)
        leftovers.remove_old(storage, current.manifest)
        merges.run(connection, storage, operation.raise_if_expired)
    report = _reporter(operation, 0.0, 0.6, len(planned.positions))
    entries = []
    for done, positions in enumerate(planned.positions):
        report(done)
        entries.append(ranges.write(connection, storage, positions, planned.buckets))
    return WrittenRanges(entries)


def verify(operation: ClaimedOperation) -> object:
    """Read the files back, and compare the sums of their rows with those of the log."""
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    written = msgspec.convert(operation.outcomes["write"], WrittenRanges).entries
    connection, storage = _open(operation)
    return _verify(operation, connection, storage, written, planned.buckets)


def publish(operation: ClaimedOperation) -> object:
    """Publish the ranges, unless they are already published.

    Return the archive's last position, and the number of events in the ranges.
    """
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    verified = msgspec.convert(operation.outcomes["verify"], WrittenRanges)
    is_continuous = operation.archive is not None
    connection, storage = _open(operation)
    current = publishing.open_published(connection, storage)
    upto = current.manifest.upto if current else 0
    if planned.positions and planned.positions[-1].last > upto:
        if planned.positions[0].first != upto + 1:  # another run has archived some of the events
            rest = plan.split(Positions(upto + 1, planned.positions[-1].last))
            verified = _write_again(operation, connection, storage, list(rest), planned.buckets)
        elif not is_continuous:  # meanwhile, a learner's events may have been erased
            verified = _verify(operation, connection, storage, verified.entries, planned.buckets)
        current = publishing.publish(
            connection, storage, current, verified.entries, planned.buckets
        )
    if current:
        _remove_unnamed(storage, current, planned)
    return {"upto": current.manifest.upto if current else 0, "events": verified.events}


def remove_written(operation: ClaimedOperation) -> object:
    """Remove the operation's files: those in the folders of its ranges that no manifest names."""
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    with connection_for(operation) as connection, log_rows.hold_lock(connection):
        storage = location.open_archive(settings.current())
        _remove_unnamed(storage, publishing.open_published(connection, storage), planned)
    return None


def _verify(
    operation: ClaimedOperation,
    connection: Connection,
    storage: Storage,
    entries: list[RangeEntry],
    buckets: int,
) -> WrittenRanges:
    """Verify the ranges; if one differs from the log, write it again and verify it once more."""
    report = _reporter(operation, 0.6, 0.95, len(entries))
    verified: list[RangeEntry] = []
    events = 0
    for done, entry in enumerate(entries):
        report(done)
        new = entry
        try:
            events += ranges.verify(connection, storage, entry, buckets)
        except Unavailable:
            raise
        except ProgressError:
            # A learner's events may have been erased since the range was written.
            positions = Positions(entry.first, entry.last)
            new = ranges.write(connection, storage, positions, buckets)
            events += ranges.verify(connection, storage, new, buckets)
        verified.append(new)
    return WrittenRanges(verified, events)


def _write_again(
    operation: ClaimedOperation,
    connection: Connection,
    storage: Storage,
    planned: list[Positions],
    buckets: int,
) -> WrittenRanges:
    entries = [ranges.write(connection, storage, positions, buckets) for positions in planned]
    return _verify(operation, connection, storage, entries, buckets)


def _remove_unnamed(storage: Storage, current: Published | None, planned: PlannedRanges) -> None:
    named = catalog.list_named(storage, current.manifest) if current else set[str]()
    for positions in planned.positions:
        ranges.remove(storage, positions, named)


def _open(operation: ClaimedOperation) -> tuple[Connection, Storage]:
    """Return the connection that holds the archive's lock until this worker ends, and the archive.

    Raise ArchiveRunning if another run holds the lock; Pub/Sub then calls a worker later.
    """
    if operation.archive is None:
        resources = operation.resources
        connection = step_connections.connect()
        resources.callback(database.close, connection)
        resources.enter_context(log_rows.hold_lock(connection))
        operation.archive = connection
    return operation.with_deadline(operation.archive), location.open_archive(settings.current())


def _reporter(
    operation: ClaimedOperation, begin: float, end: float, total: int
) -> Callable[[int], None]:
    def report(done: int) -> None:
        operation.report_progress(begin + (end - begin) * done / max(total, 1))

    return report
