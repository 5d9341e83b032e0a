"""Archive the log: write ranges of positions, check them, and join small ranges.

All callers hold the archive's lock. Each range is complete before the next one is begun; whoever is
killed leaves an archive that is whole. The last range is written again, together with the events
after it, until it is full. Once there are more than TOGETHER small ranges, the first of them become
one: so the number of files stays small, also for a log of billions of events.

COPY writes the rows to small CSV files, with separate files for each bucket. A DuckDB statement
reads the files of only one bucket, and loads each file as a whole. Its memory therefore depends on
the size of a bucket and the size of a file, but not on the total number of rows.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files, log_rows
from progress.archive.catalogue import Catalogue, Progress, Range
from progress.archive.files import OTHERS, LocalFile, Sums
from progress.archive.log_rows import ERASED, Positions
from progress.errors import ArchiveDamaged, ProgressError

RANGE = 1_000_000  # The number of positions in a full range.
TOGETHER = 100  # The number of ranges that are joined into one.
MAX_AGE_DAYS = 30  # Events are archived, too, if they are older than this and fill no range.

_MAX_BYTES = 16 << 20  # when a CSV file has reached this size, the next row begins another file
# The largest size of a file that results from a join. A join or an erasure needs 512 MB for DuckDB,
# and temporary space of twice the size. In a Cloud Run function, temporary space is memory.
_MAX_JOINED = 256 << 20


class Request(msgspec.Struct, frozen=True):
    """The selection of the events to archive.

    By default, events are archived once they fill a range, or are old. With `is_now`, all folded
    events are archived. With `before`, those that were recorded before this time, and no others.
    """

    is_now: bool = False
    before: datetime | None = None


class Plan(NamedTuple):
    """The last position that is archived, and the last one that is to be."""

    upto: int
    last: int


def run(
    connection: Connection,
    storage: Storage,
    buckets: int,
    request: Request,
    on_progress: Progress,
) -> Catalogue:
    """Archive the log; raise ArchiveRunning if another run works on the archive."""
    with log_rows.hold_lock(connection):
        planned = plan(connection, storage, request)
        write(connection, storage, buckets, planned.last, on_progress)
        join(connection, storage, on_progress)
        return catalogue.read(storage)


def plan(connection: Connection, storage: Storage, request: Request) -> Plan:
    """Return what to archive; what is unfinished, or of version 0.4, is written again at once."""
    found = catalogue.read(storage)
    catalogue.check_log(connection, storage, found)
    bound = log_rows.find_bound(connection, request.before)
    last = max(bound, found.upto)
    if not request.is_now and request.before is None:
        first = _find_first(found)
        last = first - 1 + (bound - first + 1) // RANGE * RANGE
        last = max(found.upto, min(max(last, found.end), bound))
        if last < bound and log_rows.is_old(connection, last + 1, MAX_AGE_DAYS):
            last = bound
    return Plan(found.upto, last)


def write(
    connection: Connection,
    storage: Storage,
    buckets: int,
    last: int,
    on_progress: Progress,
) -> None:
    """Archive the log up to the position `last`; first, write ranges again that have lost a file.

    A new archive gets the number of learner buckets `buckets`.
    """
    found = catalogue.settle(connection, storage)
    if found.ranges:
        buckets = found.buckets
    parts: list[Positions] = []
    for positions in _list_missing(found):
        parts += split(positions)
    for one in found.ranges:
        if one.missing:
            catalogue.remove(storage, one)
    if last > found.upto:
        parts += split(Positions(_find_first(found), last))
    for done, positions in enumerate(parts):
        on_progress(done, len(parts))
        _write_range(connection, storage, positions, buckets)
        if positions.first <= found.upto < positions.last or done == len(parts) - 1:
            catalogue.settle(connection, storage)  # removes what this range has replaced


def _find_first(found: Catalogue) -> int:
    """Return where the next range begins: where the last one does, until that is full."""
    if found.ranges and (newest := found.ranges[-1]).last - newest.first + 1 < RANGE:
        return newest.first
    return found.upto + 1


def split(positions: Positions) -> Iterator[Positions]:
    """Yield the parts of a range, each of at most RANGE positions."""
    for first in range(positions.first, positions.last + 1, RANGE):
        yield Positions(first, min(first + RANGE - 1, positions.last))


def _list_missing(found: Catalogue) -> Iterator[Positions]:
    """Yield the ranges that have lost a file, and those that are lost."""
    end = 0
    for one in found.ranges:
        if one.first > end + 1:
            yield Positions(end + 1, one.first - 1)
        if one.missing:
            yield one.positions
        end = one.last


def _write_range(
    connection: Connection, storage: Storage, positions: Positions, buckets: int
) -> None:
    """Write a range; raise ArchiveDamaged, and store nothing, if the files differ from the log.

    PostgreSQL computes the sums of the rows while DuckDB writes the files.
    """
    with files.open_workspace() as workspace:
        with log_rows.open_snapshot(connection), ThreadPoolExecutor(1) as thread:
            with open_files(workspace.folder) as rows:
                log_rows.copy(connection, positions, buckets, rows)
            summing = thread.submit(log_rows.sum_rows, connection, positions, buckets)
            written = workspace.write(rows.by_bucket)
            expected = summing.result()
        if differing := list_differing(written, expected):
            raise ArchiveDamaged(
                f"the files differ from the log at positions {positions.first} to "
                f"{positions.last}; these buckets differ: {', '.join(map(name_bucket, differing))}"
            )
        ((_, recorded_at),) = log_rows.recorded_times(connection, [positions.last]).items()
        new = Range(*positions, recorded_at, [])
        for bucket in catalogue.in_order(written):
            catalogue.store(storage, new, bucket, buckets, written[bucket])


def list_differing(
    found: dict[int | None, LocalFile], expected: dict[int | None, Sums]
) -> list[int | None]:
    """Return the buckets whose sums differ from those of the log; ERASED stands for erased rows."""
    sums = {bucket: local.sums for bucket, local in found.items()}
    sums[ERASED] = Sums.total(local.erased for local in found.values())
    both = catalogue.in_order(sums.keys() | expected.keys())
    return [bucket for bucket in both if sums.get(bucket, Sums()) != expected.get(bucket, Sums())]


def name_bucket(bucket: int | None) -> str:
    return {None: "others", ERASED: "erased rows"}.get(bucket, str(bucket))


def join(connection: Connection, storage: Storage, on_progress: Progress) -> None:
    """Write each TOGETHER neighbouring ranges as one, bucket by bucket, and remove them.

    The rows stay in the order of the former files, because a sort may need much temporary space.
    """
    while together := choose(catalogue.settle(connection, storage).ranges):
        new = together[-1]._replace(first=together[0].first)
        by_bucket = _group(together)
        for done, bucket in enumerate(catalogue.in_order(by_bucket)):
            on_progress(done, len(by_bucket))
            with files.open_workspace() as workspace:
                paths = catalogue.fetch_all(storage, by_bucket[bucket], workspace.folder)
                parts = workspace.measure(paths).values()
                local = workspace.join(paths, workspace.folder / "joined.parquet")
                if (local.sums, local.erased) != (
                    Sums.total(part.sums for part in parts),
                    Sums.total(part.erased for part in parts),
                ):
                    raise ProgressError("the rows have changed in the join")
                catalogue.store(storage, new, bucket, by_bucket[bucket][0].buckets, local)


def choose(ranges: Sequence[Range]) -> Sequence[Range]:
    """Return the first TOGETHER neighbours that are small, or none; the newest range is none."""
    for begin in range(len(ranges) - TOGETHER):
        together = ranges[begin : begin + TOGETHER]
        if all(one.last - one.first < RANGE and not one.missing for one in together):
            sizes = Counter[int | None]()
            for one in together:
                sizes.update({file.bucket: file.bytes for file in one.files})
            if max(sizes.values()) <= _MAX_JOINED:
                return together
    return []


def _group(together: Sequence[Range]) -> dict[int | None, list[catalogue.File]]:
    by_bucket = defaultdict[int | None, list[catalogue.File]](list)
    for one in together:
        for file in one.files:
            by_bucket[file.bucket].append(file)
    return by_bucket


class RowFiles:
    """The output of a COPY whose first column is the bucket."""

    def __init__(self, folder: Path, resources: contextlib.ExitStack) -> None:
        self.by_bucket: dict[int, list[Path]] = defaultdict(list)
        self._folder, self._resources = folder, resources
        self._files: dict[bytes, BinaryIO] = {}
        self._bytes: dict[bytes, int] = {}
        self._begin_file(b"%d" % OTHERS)  # a range has the file `others` even without such rows

    def write(self, row: bytes) -> None:
        """Write a row; each call gets one row, because PostgreSQL sends one row per message."""
        bucket = row[: row.index(b",")]
        if self._bytes.get(bucket, _MAX_BYTES) >= _MAX_BYTES:
            self._begin_file(bucket)
        self._bytes[bucket] += self._files[bucket].write(row)

    def _begin_file(self, bucket: bytes) -> None:
        if bucket in self._files:
            self._files[bucket].close()
        paths = self.by_bucket[int(bucket)]
        paths.append(self._folder / f"{int(bucket)}-{len(paths)}.csv")
        self._files[bucket] = self._resources.enter_context(paths[-1].open("wb"))
        self._bytes[bucket] = 0


@contextlib.contextmanager
def open_files(folder: Path) -> Iterator[RowFiles]:
    """Yield an output that writes rows to files, and close its files when the block ends."""
    with contextlib.ExitStack() as resources:
        yield RowFiles(folder, resources)
