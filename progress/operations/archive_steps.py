"""The steps of ARCHIVE. If a worker dies, another one repeats the incomplete step.

Each worker holds the archive's lock from the worker's first step to its last. Before the next
worker starts, the archive or the log may change. If so, the next worker writes the affected
ranges again.
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
    check,
    leftovers,
    location,
    log_rows,
    manifest,
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
from progress.errors import ArchiveDamaged
from progress.operations import claim
from progress.operations.claim import (
    ClaimedOperation,
    connection_for,
    limit_statements,
    parse_arguments,
)

_MAX_RANGES = 100  # ranges per operation; the next operation continues


class ArchiveArguments(msgspec.Struct, frozen=True):
    """The arguments of ARCHIVE; without `before`, only full or old ranges are archived."""

    before: datetime | None = None


class PlannedRanges(msgspec.Struct, frozen=True):
    """The outcome of the first step: positions to archive, and the number of learner buckets."""

    positions: list[Positions]
    buckets: int


class WrittenRanges(msgspec.Struct, frozen=True):
    """The outcome of the second and the third step."""

    entries: list[RangeEntry]
    events: int = 0


def choose_range(operation: ClaimedOperation) -> object:
    """Return the positions to archive, and the archive's number of learner buckets."""
    request = Request(before=parse_arguments(operation, ArchiveArguments).before)
    connection, storage = _open(operation)
    current = publishing.open_published(connection, storage)
    planned = plan.plan_ranges(connection, current, request)[:_MAX_RANGES]
    buckets = current.manifest.buckets if current else settings.current().archive_buckets
    return PlannedRanges(planned, buckets)


def write(operation: ClaimedOperation) -> object:
    """Write lost files again, remove old files that no manifest names, and write the new ranges."""
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    connection, storage = _open(operation)
    if current := publishing.open_published(connection, storage):
        current = repair.write_lost_ranges(connection, storage, current)
        leftovers.remove_old(storage, current.manifest)
    report = _reporter(operation, 0.0, 0.6, len(planned.positions))
    entries = []
    for done, positions in enumerate(planned.positions):
        report(done)
        entries.append(ranges.write(connection, storage, positions, planned.buckets))
    return WrittenRanges(entries)


def verify(operation: ClaimedOperation) -> object:
    """Read the written files back, and compare the checksums of their rows with the log's."""
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    written = msgspec.convert(operation.outcomes["write"], WrittenRanges).entries
    connection, storage = _open(operation)
    return _verify(operation, connection, storage, written, planned.buckets)


def publish(operation: ClaimedOperation) -> object:
    """Publish the verified ranges, unless they are already published.

    A verified range may have lost its files, or another run may have archived some of its events.
    If no verified range can be appended to the archive, write and publish one new range. The next
    operation archives the rest. Return the archive's last position, and the number of events in
    the published ranges.
    """
    planned = msgspec.convert(operation.outcomes["range"], PlannedRanges)
    verified = msgspec.convert(operation.outcomes["verify"], WrittenRanges)
    connection, storage = _open(operation)
    current = publishing.open_published(connection, storage)
    upto = current.manifest.upto if current else 0
    events = verified.events
    if planned.positions and planned.positions[-1].last > upto:
        buckets = current.manifest.buckets if current else planned.buckets
        entries = _list_complete(storage, verified.entries, upto)
        if not entries or buckets != planned.buckets:
            first = next(plan.split(Positions(upto + 1, planned.positions[-1].last)))
            entries = [ranges.write_verified(connection, storage, first, buckets)]
        if entries != verified.entries:
            events = sum(catalog.read_range(storage, entry).events for entry in entries)
        current = publishing.publish(connection, storage, current, entries, buckets)
    if current:
        _remove_unnamed(storage, current, planned)
    return {"upto": current.manifest.upto if current else 0, "events": events}


def merge(operation: ClaimedOperation) -> object:
    """Merge ranges of the archive; return the stored outcome of the earlier step `publish`."""
    connection, storage = _open(operation)
    merges.run(connection, storage, lambda: operation.report_progress(0.99), largest=merges.LARGEST)
    return operation.outcomes["publish"]


def remove_written(operation: ClaimedOperation) -> object:
    """Remove the files that the operation wrote, except those that a manifest names."""
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
        except ArchiveDamaged:
            # A learner's events may have been erased since the range was written.
            positions = Positions(entry.first, entry.last)
            new = ranges.write_verified(connection, storage, positions, buckets)
            events += catalog.read_range(storage, new).events
        verified.append(new)
    return WrittenRanges(verified, events)


def _list_complete(storage: Storage, entries: list[RangeEntry], upto: int) -> list[RangeEntry]:
    """Return the ranges after the position `upto`; stop before the first one that lacks a file.

    The files of these ranges were verified, and files are never changed. If an erasure changes
    the log after the verification, the erasure also removes all files that no manifest names. Files
    that still exist are therefore correct.
    """
    complete: list[RangeEntry] = []
    for entry in entries:
        if entry.last <= upto:
            continue
        try:
            contents = catalog.read_range(storage, entry)
        except ArchiveDamaged:
            break
        tree = storage.list_tree(manifest.folder(entry.first, entry.last))
        sizes = {file.path: file.bytes for file in tree}
        if entry.first != upto + 1 or check.find_missing(contents, sizes):
            break
        complete.append(entry)
        upto = entry.last
    return complete


def _remove_unnamed(storage: Storage, current: Published | None, planned: PlannedRanges) -> None:
    named = catalog.list_named(storage, current.manifest) if current else set[str]()
    for positions in planned.positions:
        ranges.remove(storage, positions, named)


def _open(operation: ClaimedOperation) -> tuple[Connection, Storage]:
    """Return a connection and the archive's storage.

    The connection holds the archive's lock until this worker ends. Raise ArchiveRunning if another
    run holds the lock; Pub/Sub then repeats the command later.
    """
    if operation.handover is None:
        resources = operation.resources
        connection = claim.connect()
        resources.callback(database.close, connection)
        resources.enter_context(log_rows.hold_lock(connection))
        operation.handover = connection
    connection = limit_statements(operation.handover, operation)
    return connection, location.open_archive(settings.current())


def _reporter(
    operation: ClaimedOperation, begin: float, end: float, total: int
) -> Callable[[int], None]:
    def report(done: int) -> None:
        operation.report_progress(begin + (end - begin) * done / max(total, 1))

    return report
