"""Write a range of the log into the archive's storage, and verify it.

COPY writes the rows to small CSV files, with separate files for each bucket. A DuckDB statement
reads the files of only one bucket, and loads each file as a whole. Its memory therefore depends on
the size of a bucket and the size of a file, but not on the total number of rows.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows, manifests
from progress.archive.files import LocalFile, Sums, Workspace
from progress.archive.log_rows import ErasedRow, Positions
from progress.archive.manifests import File, RangeEntry, RangeManifest
from progress.errors import ArchiveDamaged

_MAX_BYTES = 16 << 20  # when a file has reached this size, the next row begins another file


def write(
    connection: Connection, storage: Storage, positions: Positions, buckets: int
) -> RangeEntry:
    """Write the files and the manifest of a range; the caller must then `verify` the range."""
    with files.open_workspace() as workspace:
        rows = _copy(connection, workspace, positions, buckets)
        stored = _write_files(storage, workspace, positions, rows)
    erased = log_rows.list_erased(connection, positions)
    return manifests.put_range(storage, describe(connection, positions, stored, erased))


def write_verified(
    connection: Connection, storage: Storage, positions: Positions, buckets: int
) -> RangeEntry:
    """Write a range and compare it with the log; raise ArchiveDamaged if the two differ.

    While DuckDB writes the files, PostgreSQL first lists the erased rows, and then computes sums of
    the other rows. These sums therefore omit every listed row. If the files have the same sums,
    no file holds a listed row.
    """
    with files.open_workspace() as workspace, ThreadPoolExecutor(1) as thread:
        rows = _copy(connection, workspace, positions, buckets)
        listing = thread.submit(log_rows.list_erased, connection, positions)
        summing = thread.submit(log_rows.sum_rows, connection, positions, buckets)
        stored = _write_files(storage, workspace, positions, rows)
        erased, expected = listing.result(), summing.result()
    contents = describe(connection, positions, stored, erased)
    manifests.check_stored(storage, contents)
    _compare(contents, expected)
    return manifests.put_range(storage, contents)


def _copy(
    connection: Connection, workspace: Workspace, positions: Positions, buckets: int
) -> dict[int, list[Path]]:
    with open_files(workspace.folder) as rows:
        log_rows.copy(connection, positions, buckets, rows)
    return rows.by_bucket


def _write_files(
    storage: Storage, workspace: Workspace, positions: Positions, rows: dict[int, list[Path]]
) -> list[File]:
    written = workspace.write(rows)
    folder = manifests.folder(*positions)
    return [store(storage, folder, bucket, written[bucket]) for bucket in in_order(written)]


def describe(
    connection: Connection, positions: Positions, stored: list[File], erased: list[ErasedRow]
) -> RangeManifest:
    """Return the manifest of a range with these files."""
    recorded_from, recorded_to = manifests.recorded_times(connection, stored)
    return RangeManifest(
        first=positions.first,
        last=positions.last,
        events=sum(file.rows for file in stored),
        recorded_from=recorded_from,
        recorded_to=recorded_to,
        files=stored,
        erased=erased,
    )


def store(storage: Storage, folder: str, bucket: int | None, local: LocalFile) -> File:
    """Upload a file under a name with its hash; return its entry for the range's manifest."""
    sha256 = files.hash_file(local.path)
    name = manifests.file_name(bucket, sha256)
    files.upload(storage, local.path, f"{folder}/{name}")
    return File(
        name=name,
        bucket=bucket,
        rows=local.sums.rows,
        bytes=local.path.stat().st_size,
        sha256=sha256,
        first=local.first,
        last=local.last,
        sums=(local.sums.s1, local.sums.s2),
    )


def verify(connection: Connection, storage: Storage, entry: RangeEntry, buckets: int) -> int:
    """Read a range back and compare it with the log; return its number of events.

    Raise ArchiveDamaged if the hash of a stored file differs from the hash in the manifest, or if
    the sums that PostgreSQL computes over the log's rows differ from the sums in the manifest.
    """
    contents = manifests.read_range(storage, entry)
    manifests.check_stored(storage, contents)
    positions = Positions(contents.first, contents.last)
    _compare(contents, log_rows.sum_rows(connection, positions, buckets))
    return contents.events


def differing_buckets(
    connection: Connection, contents: RangeManifest, buckets: int
) -> list[int | None]:
    """Return the buckets for which the manifest's sums differ from the log's sums."""
    positions = Positions(contents.first, contents.last)
    return _differing(contents, log_rows.sum_rows(connection, positions, buckets))


def _compare(contents: RangeManifest, expected: dict[int | None, Sums]) -> None:
    """Raise ArchiveDamaged if the sums in the manifest differ from `expected`, the log's sums."""
    if differing := _differing(contents, expected):
        names = ", ".join("others" if bucket is None else str(bucket) for bucket in differing)
        raise ArchiveDamaged(
            f"the archive differs from the log at positions {contents.first} to {contents.last}; "
            f"these buckets differ: {names}"
        )


def _differing(contents: RangeManifest, expected: dict[int | None, Sums]) -> list[int | None]:
    archived = {file.bucket: Sums(file.rows, *file.sums) for file in contents.files}
    both = expected.keys() | archived.keys()
    return in_order(bucket for bucket in both if expected.get(bucket) != archived.get(bucket))


def in_order(buckets: Iterable[int | None]) -> list[int | None]:
    """Sort buckets; None, the bucket of the streams that belong to no learner, comes last."""
    return sorted(buckets, key=lambda bucket: (bucket is None, bucket))


class RowFiles:
    """The output of a COPY whose first column is the bucket."""

    def __init__(self, folder: Path, resources: contextlib.ExitStack) -> None:
        self.by_bucket: dict[int, list[Path]] = defaultdict(list)
        self._folder, self._resources = folder, resources
        self._files: dict[bytes, BinaryIO] = {}
        self._bytes: dict[bytes, int] = {}

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
