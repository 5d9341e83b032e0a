"""Write a range of the log into the archive's storage, and verify it."""

from collections.abc import Iterable

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, files, log_rows, manifest
from progress.archive.files import LocalFile, Sums
from progress.archive.log_rows import Positions
from progress.archive.manifest import File, RangeEntry, RangeManifest
from progress.errors import ProgressError


def write(
    connection: Connection, storage: Storage, positions: Positions, buckets: int
) -> RangeEntry:
    """Write the files and the manifest of a range, which counts once it is published."""
    with files.open_workspace() as workspace:
        csv = workspace.folder / "rows.csv"
        log_rows.copy(connection, positions, buckets, csv)
        written = workspace.write(csv) if csv.stat().st_size else {}
        csv.unlink()
        stored = [
            store(storage, manifest.folder(*positions), bucket, written[bucket])
            for bucket in in_order(written)
        ]
    times = log_rows.recorded_times(connection, stored)
    contents = RangeManifest(
        first=positions.first,
        last=positions.last,
        events=sum(file.rows for file in stored),
        recorded_from=times[0],
        recorded_to=times[1],
        files=stored,
        erased=log_rows.list_erased(connection, positions),
    )
    return catalog.put_range(storage, contents)


def store(storage: Storage, folder: str, bucket: int | None, local: LocalFile) -> File:
    """Upload a file, named by its hash; return its entry in the range's manifest."""
    sha256 = files.hash_file(local.path)
    name = manifest.file_name(bucket, sha256)
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

    Raise ProgressError if a stored file differs from the one that was written, or if the sums of
    its rows differ from those that PostgreSQL computes over the same positions.
    """
    contents = catalog.read_range(storage, entry)
    catalog.check_stored(storage, contents)
    if differing := differing_buckets(connection, contents, buckets):
        names = ", ".join("others" if bucket is None else str(bucket) for bucket in differing)
        raise ProgressError(
            f"the archived positions {contents.first} to {contents.last} differ from the log in "
            f"these buckets: {names}"
        )
    return contents.events


def differing_buckets(
    connection: Connection, contents: RangeManifest, buckets: int
) -> list[int | None]:
    """Return the buckets whose sums in the manifest are not those of the log."""
    positions = Positions(contents.first, contents.last)
    expected = log_rows.sum_rows(connection, positions, buckets)
    archived = {file.bucket: Sums(file.rows, *file.sums) for file in contents.files}
    both = expected.keys() | archived.keys()
    return in_order(bucket for bucket in both if expected.get(bucket) != archived.get(bucket))


def in_order(buckets: Iterable[int | None]) -> list[int | None]:
    """Sort buckets; `others` comes last."""
    return sorted(buckets, key=lambda bucket: (bucket is None, bucket))


def remove(storage: Storage, positions: Positions, named: set[str]) -> int:
    """Remove a range's files that no manifest names; return their number."""
    found = [file.path for file in storage.list_tree(manifest.folder(*positions), former=True)]
    unnamed = [path for path in found if path not in named]
    for path in unnamed:
        storage.purge(path)
    return len(unnamed)
