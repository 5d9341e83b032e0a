"""A run: copy the log into the archive, range by range, up to where every shard is folded."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, log_rows, manifest, ranges
from progress.archive.catalog import Published
from progress.archive.log_rows import Positions
from progress.archive.manifest import Log, Manifest, RangeEntry
from progress.errors import ProgressError

RANGE = 1_000_000  # events of a range
MAX_AGE_DAYS = 30  # of an event that is not archived because its range is not full

Progress = Callable[[int, int], None]


class Request(msgspec.Struct, frozen=True):
    """What to archive: full and old ranges, or whatever there is, or what is older than a time."""

    is_now: bool = False
    before: datetime | None = None


def run(
    connection: Connection, storage: Storage, buckets: int, request: Request, on_progress: Progress
) -> Manifest | None:
    """Archive the log under the archive's lock; return the manifest, None if there is none yet.

    Each range is published before the next one is written. Raise ArchiveRunning if another run
    works on the archive.
    """
    with log_rows.hold_lock(connection):
        current = open_published(connection, storage)
        plan = plan_ranges(connection, current, request)
        total = sum(positions.last - positions.first + 1 for positions in plan)
        done = 0
        for positions in plan:
            with removing_failed(storage, positions):
                number = current.manifest.buckets if current else buckets
                entry = ranges.write(connection, storage, positions, number)
                ranges.verify(connection, storage, entry, number)
            current = publish(connection, storage, current, [entry], buckets)
            done += positions.last - positions.first + 1
            on_progress(done, total)
        return current.manifest if current else None


def open_published(connection: Connection, storage: Storage) -> Published | None:
    """Return the archive of this log, None if there is none yet.

    Raise ProgressError if the archive is that of another log.
    """
    current = catalog.read(storage)
    if current:
        check_log(connection, current.manifest)
        catalog.settle(storage, current.manifest)
    return current


def check_log(connection: Connection, archived: Manifest) -> None:
    """Raise ProgressError if the archive is not that of this log."""
    found = log_rows.identify(connection)
    is_same = found is not None and found[0].recorded_at == archived.log.recorded_at
    if found and not found[1]:  # an event that was emptied has another id
        is_same = is_same and found[0].id == archived.log.id
    if not is_same or log_rows.find_end(connection) < archived.upto:
        raise ProgressError("the archive is that of another log: use another bucket or folder")


def plan_ranges(
    connection: Connection, current: Published | None, request: Request
) -> list[Positions]:
    """Return the ranges to write: full ones, and the rest if it is requested or old."""
    bound = log_rows.find_bound(connection, request.before)
    first = current.manifest.upto + 1 if current else 1
    plan = list(split(Positions(first, bound)))
    is_wanted = request.is_now or request.before is not None
    if plan and plan[-1].last - plan[-1].first + 1 < RANGE and not is_wanted:
        rest = plan[-1]
        if not log_rows.is_old(connection, rest.first, MAX_AGE_DAYS):
            plan.pop()
    return plan


def split(positions: Positions) -> Iterator[Positions]:
    """Yield the parts of a range, each of at most RANGE positions."""
    for first in range(positions.first, positions.last + 1, RANGE):
        yield Positions(first, min(first + RANGE - 1, positions.last))


def publish(
    connection: Connection,
    storage: Storage,
    current: Published | None,
    entries: list[RangeEntry],
    buckets: int,
) -> Published:
    """Publish the archive with these ranges too; they replace those of the same positions."""
    published = current.manifest.ranges if current else []
    new = {(entry.first, entry.last) for entry in entries}
    kept = [old for old in published if not any(a <= old.first and old.last <= b for a, b in new)]
    every = sorted([*kept, *entries], key=lambda entry: entry.first)
    upto = every[-1].last
    catalog.publish(
        storage,
        Manifest(
            log=_identity(connection),
            buckets=current.manifest.buckets if current else buckets,
            upto=upto,
            ranges=every,
            checkpoints=log_rows.read_checkpoints(connection, upto),
        ),
        current,
    )
    published_now = catalog.read(storage)
    if published_now is None:
        raise ProgressError(f"{manifest.NAME} of the archive has disappeared: run again")
    return published_now


def _identity(connection: Connection) -> Log:
    found = log_rows.identify(connection)
    if found is None:
        raise ProgressError("the log is empty")
    return found[0]


@contextlib.contextmanager
def removing_failed(storage: Storage, positions: Positions) -> Iterator[None]:
    """Remove the range's unnamed files if the block fails."""
    try:
        yield
    except ProgressError:
        with contextlib.suppress(ProgressError):
            current = catalog.read(storage)
            named = catalog.list_named(storage, current.manifest) if current else set[str]()
            ranges.remove(storage, positions, named)
        raise
