"""The unit of work of a rebuild from the archive: fold one bucket, and load its rows.

The engines call `process` with plain arguments, on any machine, and may repeat a call.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from progress.adapters import storage
from progress.adapters.storage.storage import Storage
from progress.archive import catalog, files, manifest
from progress.archive.manifest import RangeManifest
from progress.errors import RebuildEnded
from progress.recovery import archive_loads, bucket_folds


def process(archive: str, database: str | None, bucket: int, version: int) -> int:
    """Fold a bucket of the archive and load its rows; return the number of its events.

    Return 0 if the bucket is loaded already. `archive` is the archive's location. `database` is a
    URL; if it is None, the settings name the database. `version` is the version of the rebuild.
    Raise RebuildEnded if the rebuild has ended, and ProgressError if a file is missing or damaged.
    """
    with archive_loads.connect(database) as connection:
        rebuild = archive_loads.open_bucket(connection, bucket, version)
    if rebuild is None:
        return 0
    with files.open_folder() as folder:
        stored = storage.open_storage(archive)
        log, events = fetch(stored, _read_contents(archive, version), folder, bucket)
        tables = {}
        if log:
            shared = _fetch_shared(stored, folder, version)
            tables = bucket_folds.fold_bucket(folder, log, shared, rebuild)
        # Do not stay connected during the fold: the database may have fewer connections than tasks.
        with archive_loads.connect(database) as connection:
            is_new = archive_loads.load_bucket(connection, bucket, version, events, tables)
    return events if is_new else 0


@functools.lru_cache(maxsize=1)
def _read_contents(archive: str, version: int) -> list[RangeManifest]:  # noqa: ARG001 - part of the cache's key
    """Return the manifests of the ranges; the rebuild's lock on the archive prevents changes."""
    stored = storage.open_storage(archive)
    return catalog.read_ranges(stored, catalog.require(stored).manifest)


def fetch(
    stored: Storage, contents: Sequence[RangeManifest], folder: Path, bucket: int | None
) -> tuple[list[Path], int]:
    """Copy a bucket's files of all ranges to `folder`; return the paths and the number of events.

    If `bucket` is None, copy the files of the streams that belong to no learner.
    """
    parts = [(one, file) for one in contents for file in one.files if file.bucket == bucket]
    return catalog.fetch_all(stored, parts, folder), sum(file.rows for _, file in parts)


def store_shared(stored: Storage, version: int, shared: dict[str, Path]) -> None:
    """Store the relations that all buckets need."""
    for name, path in shared.items():
        files.upload(stored, path, _path_of(version, name))


def remove_shared(stored: Storage) -> None:
    """Remove the relations that this rebuild and earlier rebuilds have stored for all buckets."""
    for file in list(stored.list_tree(manifest.REBUILDS)):
        stored.purge(file.path)


def _fetch_shared(stored: Storage, folder: Path, version: int) -> dict[str, Path]:
    shared = {name: folder / f"{name}.parquet" for name in bucket_folds.SHARED}
    for name, path in shared.items():
        if not stored.has(_path_of(version, name)):
            raise RebuildEnded(f"the rebuild with version {version} has ended")
        files.download(stored, _path_of(version, name), path)
    return shared


def _path_of(version: int, name: str) -> str:
    return f"{manifest.REBUILDS}/{version}/{name}.parquet"
