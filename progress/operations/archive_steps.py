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
from progress.archive import log_rows, manifests, merges, ranges, runs
from progress.archive.runs import PlannedRanges, Request, WrittenRanges
from progress.operations import claimed_operations
from progress.operations.claimed_operations import (
    ClaimedOperation,
    connection_for,
    limit_statements,
    parse_arguments,
)

_MAX_RANGES = 100  # ranges per operation; the next operation continues


class ArchiveArguments(msgspec.Struct, frozen=True):
    """The arguments of ARCHIVE; without `before`, only full or old ranges are archived."""

    before: datetime | None = None


def choose_range(operation: ClaimedOperation) -> object:
    """Return the positions to archive, and the archive's number of learner buckets."""
    request = Request(before=parse_arguments(operation, ArchiveArguments).before)
    planned = runs.choose(*_open(operation), settings.current().archive_buckets, request)
    return PlannedRanges(planned.positions[:_MAX_RANGES], planned.buckets)


def write(operation: ClaimedOperation) -> object:
    """Write lost files again, remove old files that no manifest names, and write the new ranges."""
    planned = _planned(operation)
    connection, storage = _open(operation)
    runs.repair(connection, storage)
    report = _reporter(operation, 0.0, 0.6)
    entries = []
    for done, positions in enumerate(planned.positions):
        report(done)
        entries.append(ranges.write(connection, storage, positions, planned.buckets))
    return WrittenRanges(entries)


def verify(operation: ClaimedOperation) -> object:
    """Read the written files back, and compare the checksums of their rows with the log's."""
    written = msgspec.convert(operation.outcomes["write"], WrittenRanges).entries
    report = _reporter(operation, 0.6, 0.95)
    return runs.verify(*_open(operation), written, _planned(operation).buckets, report)


def publish(operation: ClaimedOperation) -> object:
    """Publish the verified ranges; return the archive's last position, and the number of events."""
    verified = msgspec.convert(operation.outcomes["verify"], WrittenRanges)
    return runs.publish(*_open(operation), _planned(operation), verified)


def merge(operation: ClaimedOperation) -> object:
    """Merge ranges of the archive; return the stored outcome of the earlier step `publish`."""
    connection, storage = _open(operation)
    merges.run(connection, storage, lambda: operation.report_progress(0.99), largest=merges.LARGEST)
    return operation.outcomes["publish"]


def remove_written(operation: ClaimedOperation) -> object:
    """Remove the files that the operation wrote, except those that a manifest names."""
    with connection_for(operation) as connection, log_rows.hold_lock(connection):
        storage = manifests.open_archive(settings.current())
        runs.remove_unnamed(storage, _planned(operation), manifests.read(storage))
    return None


def _planned(operation: ClaimedOperation) -> PlannedRanges:
    return msgspec.convert(operation.outcomes["range"], PlannedRanges)


def _open(operation: ClaimedOperation) -> tuple[Connection, Storage]:
    """Return a connection and the archive's storage.

    The connection holds the archive's lock until this worker ends. Raise ArchiveRunning if another
    run holds the lock; Pub/Sub then repeats the command later.
    """
    if operation.handover is None:
        resources = operation.resources
        connection = claimed_operations.connect()
        resources.callback(database.close, connection)
        resources.enter_context(log_rows.hold_lock(connection))
        operation.handover = connection
    connection = limit_statements(operation.handover, operation)
    return connection, manifests.open_archive(settings.current())


def _reporter(operation: ClaimedOperation, begin: float, end: float) -> Callable[[int], None]:
    """Return a function that reports how many of the planned ranges a step has done."""
    total = max(len(_planned(operation).positions), 1)

    def report(done: int) -> None:
        operation.report_progress(begin + (end - begin) * done / total)

    return report
