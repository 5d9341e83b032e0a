"""The steps of ARCHIVE. If a worker dies, another one repeats the incomplete step.

A step leaves an archive that is whole, also if it dies or is cancelled: so nothing is undone. Each
holds the archive's lock. While another run holds it, ArchiveRunning is raised, and Pub/Sub repeats
the command later.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import msgspec

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, log_rows, runs
from progress.archive.catalogue import Progress
from progress.archive.runs import Request
from progress.operations.claimed_operations import (
    ClaimedOperation,
    connection_for,
    parse_arguments,
)

_MAX_RANGES = 100  # ranges per operation; the next operation continues


class ArchiveArguments(msgspec.Struct, frozen=True):
    """The arguments of ARCHIVE; without `before`, only full ranges and old events are archived."""

    before: datetime | None = None


def choose_range(operation: ClaimedOperation) -> dict[str, int]:
    """Return the last archived position, and the last one to archive."""
    request = Request(before=parse_arguments(operation, ArchiveArguments).before)
    with _open(operation) as (connection, storage):
        planned = runs.plan(connection, storage, request)
    return {
        "upto": planned.upto,
        "last": min(planned.last, planned.upto + _MAX_RANGES * runs.RANGE),
    }


def write(operation: ClaimedOperation) -> object:
    """Write lost files again, and the new ranges; return the last position and the events."""
    planned = operation.outcomes["range"]
    if "last" not in planned:  # version 0.4 began the operation
        planned = choose_range(operation)
    with _open(operation) as (connection, storage):
        buckets = settings.current().archive_buckets
        runs.write(connection, storage, buckets, planned["last"], _reporter(operation, 0.0, 0.7))
        upto = catalogue.read(storage).upto
    return {"upto": upto, "events": upto - planned["upto"]}


def join(operation: ClaimedOperation) -> object:
    """Join small ranges of the archive; return the outcome of the step before."""
    with _open(operation) as (connection, storage):
        runs.join(connection, storage, _reporter(operation, 0.7, 0.99))
    return operation.outcomes["write"]


@contextlib.contextmanager
def _open(operation: ClaimedOperation) -> Iterator[tuple[Connection, Storage]]:
    with connection_for(operation) as connection, log_rows.hold_lock(connection):
        yield connection, catalogue.open_archive(settings.current())


def _reporter(operation: ClaimedOperation, begin: float, end: float) -> Progress:
    """Return a function that reports the share of a step that is done."""

    def report(done: int, total: int) -> None:
        operation.report_progress(begin + (end - begin) * done / max(total, 1))

    return report
