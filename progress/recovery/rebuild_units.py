"""The unit of work of a rebuild from the archive: fold one bucket, and load its rows.

The engines call `process` with plain arguments, on any machine, and may repeat a call.
"""

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from progress.adapters import storage
from progress.adapters.postgres import statements
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files
from progress.archive.catalogue import File
from progress.errors import RebuildEnded
from progress.event_store import time_zones
from progress.projections import definitions
from progress.recovery import archive_loads
from progress.recovery.archive_loads import Rebuild

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Relations that every bucket needs. A rebuild computes them once and stores them, because the
# offsets of the time zones take a second to compute.
SHARED = ("items", "catalogue_sizes", "catalogue_counts", "zone_offsets")

_MEMORY = "2GB"


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
        log, events = fetch(stored, _list_files(archive, version), folder, bucket)
        tables = {}
        if log:
            shared = _fetch_shared(stored, folder, version)
            tables = fold_bucket(folder, log, shared, rebuild)
        # Do not stay connected during the fold: the database may have few connections.
        with archive_loads.connect(database) as connection:
            is_new = archive_loads.load_bucket(connection, bucket, version, events, tables)
    return events if is_new else 0


@functools.lru_cache(maxsize=1)
def _list_files(archive: str, version: int) -> list[File]:  # noqa: ARG001 - part of the cache's key
    """Return the archive's files; the rebuild's lock on the archive prevents changes."""
    return catalogue.require(storage.open_storage(archive)).files


def fetch(
    stored: Storage, found: Sequence[File], folder: Path, bucket: int | None
) -> tuple[list[Path], int]:
    """Copy a bucket's files of all ranges to `folder`; return the paths and the number of rows.

    If `bucket` is None, copy the files of the streams that belong to no learner.
    """
    parts = [file for file in found if file.bucket == bucket]
    return catalogue.fetch_all(stored, parts, folder), sum(file.rows for file in parts)


def store_shared(stored: Storage, version: int, shared: dict[str, Path]) -> None:
    for name, path in shared.items():
        files.upload(stored, path, _path_of(version, name))


def remove_shared(stored: Storage) -> None:
    """Remove the relations that this rebuild and earlier rebuilds have stored for all buckets."""
    for file in list(stored.list_tree(catalogue.REBUILDS)):
        stored.purge(file.path)


def _fetch_shared(stored: Storage, folder: Path, version: int) -> dict[str, Path]:
    shared = {name: folder / f"{name}.parquet" for name in SHARED}
    for name, path in shared.items():
        if not stored.has(_path_of(version, name)):
            raise RebuildEnded(f"the rebuild with version {version} has ended")
        files.download(stored, _path_of(version, name), path)
    return shared


def _path_of(version: int, name: str) -> str:
    return f"{catalogue.REBUILDS}/{version}/{name}.parquet"


class Catalogue(NamedTuple):
    """The folded catalogue: a CSV file for each table, a Parquet file for each shared relation."""

    tables: dict[str, Path]
    shared: dict[str, Path]


def fold_catalogue(folder: Path, log: Sequence[Path], rebuild: Rebuild) -> Catalogue:
    """Fold the Parquet files of the streams that belong to no learner."""
    events, folds = definitions.event_statements("duckdb"), definitions.fold_statements("duckdb")
    with _open(folder, log, rebuild) as duck:
        _run(duck, definitions.zone_statement("duckdb"), rules=time_zones.encode_rules())
        for statement in (*events, *(folds[name] for name in definitions.CATALOGUE)):
            _run(duck, statement)
        tables = [table for table in definitions.TABLES if table in definitions.CATALOGUE]
        return Catalogue(_write_tables(duck, folder, tables), _write_shared(duck, folder))


def fold_bucket(
    folder: Path, log: Sequence[Path], shared: Mapping[str, Path], rebuild: Rebuild
) -> dict[str, Path]:
    """Fold the Parquet files of a bucket; return a CSV file for each table of learners' rows."""
    folds = definitions.fold_statements("duckdb")
    with _open(folder, log, rebuild) as duck:
        for name, path in shared.items():
            _run(duck, _block("read shared", table=name), file=str(path))
        for statement in definitions.event_statements("duckdb"):
            _run(duck, statement)
        for name, statement in folds.items():
            if name not in (*SHARED, "level_totals", *definitions.SUMS):
                _run(duck, statement)
        return _write_tables(duck, folder, definitions.LEARNERS)


@contextlib.contextmanager
def _open(folder: Path, log: Sequence[Path], rebuild: Rebuild) -> Iterator["DuckDBPyConnection"]:
    """Open a DuckDB database that has the relations `log`, `poisoned_events` and `rebuild`."""
    threads = os.cpu_count() or 1
    with files.open_duck(folder, memory=_MEMORY, threads=threads) as duck:
        if log:
            _run(duck, _block("log files"), files=[str(path) for path in log])
        _run(duck, _block("log" if log else "no log"))
        _run(duck, _block("poisoned"), positions=rebuild.poisoned)
        _run(duck, _block("rebuild"), version=rebuild.version)
        yield duck


def _write_tables(
    duck: "DuckDBPyConnection", folder: Path, tables: Iterable[str]
) -> dict[str, Path]:
    written = {}
    for table in tables:
        query = definitions.loaded_query(table) or _block("loaded", table=table)
        written[table] = folder / f"{table}.csv"
        _run(duck, _block("write csv", query=query), file=str(written[table]))
    return written


def _write_shared(duck: "DuckDBPyConnection", folder: Path) -> dict[str, Path]:
    written = {name: folder / f"{name}.parquet" for name in SHARED}
    for name, path in written.items():
        _run(duck, _block("write shared", table=name), file=str(path))
    return written


def _block(name: str, **parts: str) -> str:
    return statements.fill("recovery/bucket_folds", name, **parts)


def _run(duck: "DuckDBPyConnection", statement: str, **values: object) -> None:
    files.execute(duck, statement, values)
