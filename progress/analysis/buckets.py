"""The archive's buckets, folded in DuckDB, one group of buckets after another.

All events of a learner are in one bucket. Each group is therefore folded independently, and the
groups' counts of learners can be added up. Memory does not grow with the archive.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progress.adapters.postgres.statements import blocks, fill
from progress.adapters.storage.storage import Storage
from progress.archive import files, manifests
from progress.archive.manifests import File, RangeManifest
from progress.event_store import time_zones
from progress.projections import definitions, schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SHARED = "analysis/log"
_MEMORY = "2GB"
_GROUP_BYTES = 64 << 20  # total size of the Parquet files that are folded together

StoredFile = tuple[RangeManifest, File]


class Duck:
    """A DuckDB connection, with the constant tables that the definitions read."""

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection
        self._has_events = False
        self._sources = definitions.source_statements("duckdb", cast="TRY_CAST")
        self._folds = {**definitions.fold_statements(), "tests": blocks(_SHARED)["tests"]}
        self.run(self._sources["zone_offsets"], rules=time_zones.encode_rules())
        self.run(blocks(_SHARED)["quarantined"])

    def read_until(self, last_day: date) -> None:
        """Skip answers, reviews and sessions that occurred at least three days after `last_day`.

        Days are counted in UTC. The skipped events are after `last_day` in every time zone.
        """
        self.run(blocks(_SHARED)["read until"], last_day=last_day)

    def fold_catalogue(self, paths: Sequence[Path]) -> None:
        """Create the relations `items` and `item_places` from the files that hold the catalogue."""
        with self._folded(paths, []):
            for name in ("items", "item_places"):
                self.run(self._folds[name])

    def add(
        self, paths: Sequence[Path], folds: Sequence[str], statement: str, **days: date
    ) -> None:
        """Fold the files of some buckets, and run the statement, which reads these folds."""
        with self._folded(paths, folds):
            self.run(statement, **days)

    def run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Run the statement and return its rows; ignore values that the statement does not name."""
        named = {name: value for name, value in values.items() if f"${name}" in statement}
        return files.execute(self._connection, statement, named)

    @contextlib.contextmanager
    def _folded(self, paths: Sequence[Path], folds: Sequence[str]) -> Iterator[None]:
        """Let the view `facts` read the files, and create the folds' tables.

        Drop these tables after the `with` block.
        """
        self.run(blocks(_SHARED)["read files"], files=[str(path) for path in paths])
        self.run(fill(_SHARED, "log", **schema.parts()))
        if not self._has_events:  # DuckDB cannot create the view before `files` is set.
            # The projections quarantine events on which a fold failed, but the archive has them. A
            # value of such an event becomes null if the value cannot be cast.
            self.run(self._sources["facts"])
            self._has_events = True
        for name in folds:
            self.run(self._folds[name])
        yield
        for name in folds:
            self.run(fill(_SHARED, "drop", table=name))


@contextlib.contextmanager
def open_duck() -> Iterator[tuple[Duck, Path]]:
    """Open a DuckDB for the `with` block, with a temporary folder for files."""
    threads = os.cpu_count() or 1
    with (
        files.open_folder() as folder,
        files.open_duck(folder, memory=_MEMORY, threads=threads) as connection,
    ):
        yield Duck(connection), folder


def group_files(
    contents: Sequence[RangeManifest],
) -> tuple[list[StoredFile], list[list[StoredFile]]]:
    """Return the files whose events have no learner, and the other files in groups.

    The files of a bucket are in one group. A group's size is at most 64 MiB, unless a single bucket
    is larger.
    """
    by_bucket: dict[int | None, list[StoredFile]] = {}
    for one in contents:
        for file in one.files:
            by_bucket.setdefault(file.bucket, []).append((one, file))
    others = by_bucket.pop(None, [])
    groups: list[list[StoredFile]] = []
    size = _GROUP_BYTES
    for bucket in by_bucket.values():
        added = sum(file.bytes for _, file in bucket)
        if size + added > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1] += bucket
        size += added
    return others, groups


@contextlib.contextmanager
def fetched(storage: Storage, stored: Sequence[StoredFile], folder: Path) -> Iterator[list[Path]]:
    """Copy the files into the folder, and remove the copies after the `with` block.

    Raise ProgressError if a file is missing or damaged.
    """
    paths = manifests.fetch_all(storage, stored, folder)
    yield paths
    for path in paths:
        path.unlink()
