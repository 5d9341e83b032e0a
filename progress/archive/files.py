"""The Parquet files of the archive, written and read by DuckDB on this machine.

DuckDB is imported at first use, because the functions start without it. It never downloads an
extension: those that it needs are built in.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import PART, Storage
from progress.errors import ProgressError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_WRITING_MEMORY = (
    "512MB"  # with a higher limit, or with more threads, writing partitions takes gigabytes
)
_OTHERS = -1  # the bucket of streams that belong to no learner, in the CSV file
_MAX_OPEN_FILES = 300  # more than there are buckets, so that each bucket is one file


class Sums(NamedTuple):
    """The number of rows and their sums, which do not depend on the order of the rows."""

    rows: int = 0
    s1: int = 0
    s2: int = 0

    def minus(self, other: "Sums") -> "Sums":
        """Return the sums that remain after rows with the sums `other` are removed."""
        return Sums(self.rows - other.rows, self.s1 - other.s1, self.s2 - other.s2)

    @staticmethod
    def total(parts: "Iterable[Sums]") -> "Sums":
        """Return the sums of the rows of all parts."""
        return Sums(*map(sum, zip(Sums(), *parts, strict=True)))


class Selection(NamedTuple):
    """Rows of a file: those of a stream, and those at some positions."""

    stream_id: str
    positions: Sequence[int] = ()


class LocalFile(NamedTuple):
    """A Parquet file on this machine, with the first and last position of its rows."""

    path: Path
    first: int
    last: int
    sums: Sums


class Workspace:
    """A temporary folder, and a DuckDB that works in it."""

    def __init__(self, folder: Path, duck: "DuckDBPyConnection") -> None:
        self.folder, self._duck = folder, duck

    def write(self, csv: Path) -> dict[int | None, LocalFile]:
        """Write the rows of the CSV file, one file for each bucket; the key None is `others`."""
        target = self.folder / "buckets"
        self._run("write", csv=str(csv), folder=str(target))
        by_bucket: dict[int | None, Path] = {}
        for path in target.glob("*/*.parquet"):
            number = int(path.parent.name.partition("=")[2])
            bucket = None if number == _OTHERS else number
            if bucket in by_bucket:
                raise ProgressError(f"bucket {number} was written as several files")
            by_bucket[bucket] = path
        measured = self.measure(list(by_bucket.values()))
        return {bucket: measured[path] for bucket, path in by_bucket.items()}

    def measure(self, paths: Sequence[Path]) -> dict[Path, LocalFile]:
        """Read the files and return their sums; files without rows are left out."""
        if not paths:
            return {}
        rows = self._run("sums", files=[str(path) for path in paths])
        return {
            Path(name): LocalFile(Path(name), first, last, Sums(count, int(s1), int(s2)))
            for name, count, first, last, s1, s2 in rows
        }

    def sums_of(self, path: Path, selection: Selection) -> Sums:
        """Return the sums of the selected rows in the file."""
        count, s1, s2 = self._run("sums of selection", **_values(path, selection))[0]
        return Sums(count, int(s1), int(s2))

    def positions_of(self, path: Path, selection: Selection) -> list[int]:
        """Return the positions of the selected rows in the file."""
        rows = self._run("positions of selection", **_values(path, selection))
        return [row[0] for row in rows]

    def write_without(self, path: Path, selection: Selection) -> LocalFile | None:
        """Write the file again without the selected rows; return None if no row is left."""
        target = path.with_suffix(".without.parquet")
        self._run("write without selection", **_values(path, selection), target=str(target))
        return self.measure([target]).get(target)

    def merge(self, paths: Sequence[Path], target: Path) -> LocalFile:
        """Write the rows of several files into one."""
        self._run("merge", files=[str(path) for path in paths], target=str(target))
        return self.measure([target])[target]

    def count_positions(self, path: Path, positions: Sequence[int]) -> int:
        """Return how many of the positions occur in the file."""
        rows = self._run("holds positions", file=str(path), positions=list(positions))
        count: int = rows[0][0]
        return count

    def write_csv(self, paths: Sequence[Path], target: Path) -> None:
        """Write the rows of the files as CSV, in the order of their positions."""
        self._run("rows by position", files=[str(path) for path in paths], csv=str(target))

    def _run(self, block: str, **values: object) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._duck.execute(blocks("archive/files")[block], values).fetchall()
        except duckdb.Error as error:
            raise ProgressError(f"DuckDB: {error}") from error


def _values(path: Path, selection: Selection) -> dict[str, object]:
    return {
        "file": str(path),
        "stream_id": selection.stream_id,
        "positions": list(selection.positions),
    }


@contextlib.contextmanager
def open_workspace() -> Iterator[Workspace]:
    """Open a workspace for the block, and remove its folder afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="progress-archive-") as name,
        open_duck(Path(name), memory=_WRITING_MEMORY, threads=1) as duck,
    ):
        yield Workspace(Path(name), duck)


@contextlib.contextmanager
def open_duck(folder: Path, *, memory: str, threads: int) -> Iterator["DuckDBPyConnection"]:
    """Open a DuckDB for the block; it keeps in a subfolder what exceeds the memory."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": memory,
        "partitioned_write_max_open_files": str(_MAX_OPEN_FILES),
        "temp_directory": f"{folder}/duckdb",
        "threads": str(threads),
    }
    with contextlib.closing(duckdb.connect(":memory:", config=config)) as duck:
        duck.execute("SET TimeZone = 'UTC'")
        yield duck


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file on this machine."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(storage: Storage, path: str, target: Path) -> str:
    """Copy a stored file to this machine; return the SHA-256 of its content."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for part in storage.reading(path):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def upload(storage: Storage, source: Path, path: str) -> None:
    """Copy a file of this machine to the storage."""
    with storage.writing(path) as output, source.open("rb") as file:
        while part := file.read(PART):
            output.write(part)


def hash_stored(storage: Storage, path: str) -> str:
    """Return the SHA-256 of a stored file."""
    digest = hashlib.sha256()
    for part in storage.reading(path):
        digest.update(part)
    return digest.hexdigest()
