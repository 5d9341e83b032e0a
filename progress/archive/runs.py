"""Archive the log: choose ranges of positions, then write, verify and publish them.

The command takes these steps for one range after the other. The operation ARCHIVE takes each step
for all ranges, and stores the outcome, so that another worker can continue. Until then, other runs
and erasures may change the archive. All callers hold the archive's lock.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import check, log_rows, manifests, ranges
from progress.archive.log_rows import Positions
from progress.archive.manifests import ArchiveManifest, Progress, Published, RangeEntry
from progress.errors import ArchiveDamaged, ProgressError

RANGE = 1_000_000  # The number of positions in a full range.
MAX_AGE_DAYS = 30  # An incomplete range is archived if its first event is older than this.


class Request(msgspec.Struct, frozen=True):
    """The selection of the events to archive.

    By default, the last range is archived only if it is full, or if its first event is old. With
    `is_now`, it is always archived. With `before`, all events that were recorded before this time
    are archived, and no others.
    """

    is_now: bool = False
    before: datetime | None = None


class PlannedRanges(msgspec.Struct, frozen=True):
    """The positions to archive, and the archive's number of learner buckets."""

    positions: list[Positions]
    buckets: int


class WrittenRanges(msgspec.Struct, frozen=True):
    """Ranges that were written and perhaps verified; `events` counts those that were verified."""

    entries: list[RangeEntry]
    events: int = 0


class Archived(msgspec.Struct, frozen=True):
    """The archive's last position, and the number of events in the published ranges."""

    upto: int
    events: int


def run(
    connection: Connection, storage: Storage, buckets: int, request: Request, on_progress: Progress
) -> ArchiveManifest | None:
    """Archive the log; return the archive's manifest, or None if there is no archive yet.

    Publish each range before the next one is written. Raise ArchiveRunning if another run works on
    the archive.
    """
    with log_rows.hold_lock(connection):
        planned = choose(connection, storage, buckets, request)
        repair(connection, storage)
        total = sum(positions.last - positions.first + 1 for positions in planned.positions)
        done = 0
        for positions in planned.positions:
            one = PlannedRanges([positions], planned.buckets)
            with _removing_failed(storage, one):
                entry = ranges.write_verified(connection, storage, positions, planned.buckets)
            publish(connection, storage, one, WrittenRanges([entry]))
            done += positions.last - positions.first + 1
            on_progress(done, total)
        current = manifests.read(storage)
    return current.manifest if current else None


def choose(
    connection: Connection, storage: Storage, buckets: int, request: Request
) -> PlannedRanges:
    """Return all full ranges that are not archived, and perhaps an incomplete one at the end.

    The incomplete range is archived if the request asks for it, or if its first event is old. A new
    archive gets the number of learner buckets `buckets`.
    """
    current = manifests.open_published(connection, storage)
    bound = log_rows.find_bound(connection, request.before)
    planned = list(split(Positions(current.manifest.upto + 1 if current else 1, bound)))
    is_wanted = request.is_now or request.before is not None
    if planned and not is_wanted:
        rest = planned[-1]
        is_full = rest.last - rest.first + 1 == RANGE
        if not is_full and not log_rows.is_old(connection, rest.first, MAX_AGE_DAYS):
            planned.pop()
    return PlannedRanges(planned, current.manifest.buckets if current else buckets)


def split(positions: Positions) -> Iterator[Positions]:
    """Yield the parts of a range, each of at most RANGE positions."""
    for first in range(positions.first, positions.last + 1, RANGE):
        yield Positions(first, min(first + RANGE - 1, positions.last))


def repair(connection: Connection, storage: Storage) -> None:
    """Write each range again that has lost a file; remove old files that no manifest names.

    A file is lost if it is missing, or if its size differs from the size in the manifest.
    """
    current = manifests.open_published(connection, storage)
    if not current:
        return
    sizes = {file.path: file.bytes for file in storage.list_tree(manifests.FOLDER)}
    for lost in current.manifest.ranges:
        if not _is_whole(storage, lost, sizes):
            buckets = current.manifest.buckets
            entries = [
                ranges.write_verified(connection, storage, positions, buckets)
                for positions in split(Positions(lost.first, lost.last))
            ]
            current = manifests.publish(connection, storage, current, entries, buckets)
    manifests.remove_old(storage, current.manifest)


def _is_whole(storage: Storage, entry: RangeEntry, sizes: dict[str, int]) -> bool:
    try:
        return not check.find_missing(manifests.read_range(storage, entry), sizes)
    except ArchiveDamaged:
        return False


def verify(
    connection: Connection,
    storage: Storage,
    entries: list[RangeEntry],
    buckets: int,
    report: Callable[[int], None],
) -> WrittenRanges:
    """Read written ranges back, and compare the checksums of their rows with the log's.

    If a range differs, write it again: a learner's events may have been erased since the range was
    written. `report` is called before each range with the number of ranges done.
    """
    verified: list[RangeEntry] = []
    events = 0
    for done, entry in enumerate(entries):
        report(done)
        new = entry
        try:
            events += ranges.verify(connection, storage, entry, buckets)
        except ArchiveDamaged:
            positions = Positions(entry.first, entry.last)
            new = ranges.write_verified(connection, storage, positions, buckets)
            events += manifests.read_range(storage, new).events
        verified.append(new)
    return WrittenRanges(verified, events)


def publish(
    connection: Connection, storage: Storage, planned: PlannedRanges, verified: WrittenRanges
) -> Archived:
    """Publish the verified ranges, unless they are already published.

    A verified range may have lost its files, or another run may have archived some of its events.
    If no verified range can be appended to the archive, write and publish one new range. The next
    run archives the rest.
    """
    current = manifests.open_published(connection, storage)
    upto = current.manifest.upto if current else 0
    events = verified.events
    if planned.positions and planned.positions[-1].last > upto:
        buckets = current.manifest.buckets if current else planned.buckets
        entries = _list_complete(storage, verified.entries, upto)
        if not entries or buckets != planned.buckets:
            first = next(split(Positions(upto + 1, planned.positions[-1].last)))
            entries = [ranges.write_verified(connection, storage, first, buckets)]
        if entries != verified.entries:
            events = sum(manifests.read_range(storage, entry).events for entry in entries)
        current = manifests.publish(connection, storage, current, entries, buckets)
    if current:
        remove_unnamed(storage, planned, current)
    return Archived(current.manifest.upto if current else 0, events)


def _list_complete(storage: Storage, entries: list[RangeEntry], upto: int) -> list[RangeEntry]:
    """Return the ranges after the position `upto`; stop before the first one that lacks a file.

    Files that exist are correct: they were verified and never change, and an erasure also removes
    the files that no manifest names.
    """
    complete: list[RangeEntry] = []
    for entry in entries:
        if entry.last <= upto:
            continue
        tree = storage.list_tree(manifests.folder(entry.first, entry.last))
        sizes = {file.path: file.bytes for file in tree}
        if entry.first != upto + 1 or not _is_whole(storage, entry, sizes):
            break
        complete.append(entry)
        upto = entry.last
    return complete


def remove_unnamed(storage: Storage, planned: PlannedRanges, current: Published | None) -> None:
    """Remove the files of planned ranges that no manifest names."""
    named = manifests.list_named(storage, current.manifest) if current else set[str]()
    for positions in planned.positions:
        manifests.purge_unnamed(storage, manifests.folder(*positions), named)


@contextlib.contextmanager
def _removing_failed(storage: Storage, planned: PlannedRanges) -> Iterator[None]:
    """If the block fails, remove the ranges' files that no manifest names."""
    try:
        yield
    except ProgressError:
        with contextlib.suppress(ProgressError):
            remove_unnamed(storage, planned, manifests.read(storage))
        raise
