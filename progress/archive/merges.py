"""Merges: ten neighbouring ranges of about the same size become one, bucket by bucket.

Without merges, a log of billions of events would have thousands of ranges. With merges, there are
at most nine ranges of each order of magnitude, as long as the buckets are small enough to merge.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows, manifests, ranges, runs
from progress.archive.files import Sums
from progress.archive.log_rows import Positions
from progress.archive.manifests import File, RangeEntry, RangeManifest
from progress.errors import ProgressError

LARGEST = 100 * runs.RANGE  # a step can merge at most this many positions before its timeout

_TOGETHER = 10  # The number of ranges that a merge combines into one.
# The largest total size of a bucket's files that a merge accepts. A merge or an erasure needs
# 512 MB for DuckDB, and temporary space of twice the bucket's size. In a Cloud Run function,
# temporary space is memory.
_MAX_BYTES = 256 << 20


def run(
    connection: Connection,
    storage: Storage,
    report_bucket: Callable[[], None],
    *,
    largest: int | None = None,
) -> int:
    """Merge groups of ten ranges until no group can be merged; return the number of merges.

    The function holds the archive's lock. No merged range has more than `largest` positions.
    `report_bucket` is called after each bucket. Raise ArchiveRunning if another run works on the
    archive, and ArchiveDamaged if a file is damaged.
    """
    merges = 0
    with log_rows.hold_lock(connection):
        while current := manifests.open_published(connection, storage):
            old = _read_next(storage, current.manifest.ranges, largest)
            if not old:
                break
            entry = _merge(connection, storage, old, report_bucket)
            manifests.publish(connection, storage, current, [entry], current.manifest.buckets)
            for contents in old:
                manifests.purge_unnamed(
                    storage, manifests.folder(contents.first, contents.last), set()
                )
            merges += 1
    return merges


def choose(entries: Sequence[RangeEntry]) -> Iterator[list[RangeEntry]]:
    """Yield each group of ten neighbouring ranges of the same order of magnitude.

    Groups of older ranges come first. If the caller always merges the first group, no range gets a
    higher order of magnitude than an older range.
    """
    for end in range(_TOGETHER, len(entries) + 1):
        together = list(entries[end - _TOGETHER : end])
        if len({_magnitude(entry) for entry in together}) == 1:
            yield together


def _read_next(
    storage: Storage, entries: Sequence[RangeEntry], largest: int | None
) -> list[RangeManifest]:
    """Return the first group of ten ranges that can be merged; an empty list if there is none."""
    for together in choose(entries):
        if largest is None or together[-1].last - together[0].first < largest:
            old = [manifests.read_range(storage, entry) for entry in together]
            sizes: Counter[int | None] = Counter()
            for contents in old:
                sizes.update({file.bucket: file.bytes for file in contents.files})
            if max(sizes.values(), default=0) <= _MAX_BYTES:
                return old
    return []


def _magnitude(entry: RangeEntry) -> int:
    """Return 0 for less than the size of 10 full ranges, 1 for less than that of 100, and so on."""
    return len(str((entry.last - entry.first + 1) // runs.RANGE)) - 1


def _merge(
    connection: Connection,
    storage: Storage,
    old: list[RangeManifest],
    report_bucket: Callable[[], None],
) -> RangeEntry:
    """Write the merged range and its manifest; return its entry for the archive's manifest."""
    positions = Positions(old[0].first, old[-1].last)
    buckets = ranges.in_order({file.bucket for contents in old for file in contents.files})
    stored = []
    for bucket in buckets:
        stored.append(_merge_bucket(storage, positions, old, bucket))
        report_bucket()
    erased = [row for contents in old for row in contents.erased]
    merged = ranges.describe(connection, positions, stored, erased)
    if _sum_buckets([merged]) != _sum_buckets(old):
        raise ProgressError("the rows have changed in the merge")
    manifests.check_stored(storage, merged)
    return manifests.put_range(storage, merged)


def _merge_bucket(
    storage: Storage, positions: Positions, old: list[RangeManifest], bucket: int | None
) -> File:
    parts = [(one, file) for one in old for file in one.files if file.bucket == bucket]
    with files.open_workspace() as workspace:
        paths = manifests.fetch_all(storage, parts, workspace.folder)
        local = workspace.merge(paths, workspace.folder / "merged.parquet")
        return ranges.store(storage, manifests.folder(*positions), bucket, local)


def _sum_buckets(contents: list[RangeManifest]) -> dict[int | None, Sums]:
    parts = defaultdict[int | None, list[Sums]](list)
    for file in (file for one in contents for file in one.files):
        parts[file.bucket].append(Sums(file.rows, *file.sums))
    return {bucket: Sums.total(sums) for bucket, sums in parts.items()}
