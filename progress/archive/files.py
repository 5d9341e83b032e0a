"""The Parquet files of the archive, written and read by DuckDB on this machine.

The Cloud Run functions import this module when they start. DuckDB itself is imported later,
at its first use. It never downloads an extension, because the extensions that it needs are built
in.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import PART, Storage
from progress.errors import ProgressError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY = "512MB"
_AT_A_TIME = 2  # The number of concurrent statements; each uses one thread.
OTHERS = -1  # The bucket number that COPY writes for streams that belong to no learner.
_PREFIX = "progress-parquet-"  # The names of temporary folders begin with this.


class Sums(NamedTuple):
    """The number of rows and two sums of their hashes; the order of the rows does not matter."""

    rows: int = 0
    s1: int = 0
    s2: int = 0

    @staticmethod
    def total(parts: "Iterable[Sums]") -> "Sums":
        """Return the sums of the rows of all parts."""
        return Sums(*map(sum, zip(Sums(), *parts, strict=True)))


class Selection(NamedTuple):
    """The rows of a file in a stream or at one of the positions, if they are not erased yet."""

    stream_id: str
    positions: Sequence[int] = ()


class LocalFile(NamedTuple):
    """A Parquet file on this machine, with the sums of its rows and those of its erased rows."""

    path: Path
    sums: Sums = Sums()
    erased: Sums = Sums()


class Workspace:
    """A temporary folder, and a DuckDB that works in it."""

    def __init__(self, folder: Path, duck: "DuckDBPyConnection") -> None:
        self.folder, self._duck = folder, duck

    def write(self, rows: Mapping[int, Sequence[Path]]) -> dict[int | None, LocalFile]:
        """Write a Parquet file for each bucket, and remove the bucket's CSV files.

        In the result, the key None stands for the streams that belong to no learner.
        """
        targets = {bucket: self.folder / f"{bucket}.parquet" for bucket in rows}
        values: list[dict[str, object]] = [
            {"csv": [str(path) for path in rows[bucket]], "target": str(targets[bucket])}
            for bucket in rows
        ]
        self._run_all("write", values)
        for path in itertools.chain.from_iterable(rows.values()):
            path.unlink()
        measured = self.measure(list(targets.values()))
        return {
            None if bucket == OTHERS else bucket: measured[path] for bucket, path in targets.items()
        }

    def measure(self, paths: Sequence[Path]) -> dict[Path, LocalFile]:
        """Read the files; return their sums."""
        shares = [[str(path) for path in paths[n::_AT_A_TIME]] for n in range(_AT_A_TIME)]
        found = {path: LocalFile(path) for path in paths}
        for name, is_erased, count, s1, s2 in self._run_all(
            "sums", [{"files": share} for share in shares if share]
        ):
            path, sums = Path(name), Sums(count, int(s1), int(s2))
            one = found[path]
            found[path] = one._replace(erased=sums) if is_erased else one._replace(sums=sums)
        return found

    def select(self, path: Path, selection: Selection) -> tuple[list[int], Sums]:
        """Return the positions and the sums of the selected rows in the file."""
        rows = self._run("selection", **_values(path, selection))
        return [row[0] for row in rows], Sums.total(Sums(1, *row[1:]) for row in rows)

    def replace(self, path: Path, selection: Selection, csv: Path) -> LocalFile:
        """Write the file again, with the rows of a CSV file instead of the selected rows."""
        target = path.with_suffix(".replaced.parquet")
        values = _values(path, selection)
        self._run("replace", **values, csv=[str(csv)], target=str(target))
        return self.measure([target])[target]

    def join(self, paths: Sequence[Path], target: Path) -> LocalFile:
        """Write the rows of several files into `target`, file by file, and remove the files."""
        self._run("join", files=[str(path) for path in paths], target=str(target))
        for path in paths:
            path.unlink()
        return self.measure([target])[target]

    def write_csv(self, paths: Sequence[Path], target: Path, *, erased: bool) -> None:
        """Write the files' erased or other rows as CSV, in the order of their positions."""
        values = {"files": [str(path) for path in paths], "csv": str(target), "erased": erased}
        self._run("rows by position", **values)

    def _run(self, block: str, **values: object) -> list[tuple[Any, ...]]:
        return execute(self._duck, blocks("archive/files")[block], values)

    def _run_all(self, block: str, values: Sequence[dict[str, object]]) -> list[tuple[Any, ...]]:
        def run(value: dict[str, object]) -> list[tuple[Any, ...]]:
            with self._duck.cursor() as cursor:
                return execute(cursor, blocks("archive/files")[block], value)

        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            return [row for rows in threads.map(run, values) for row in rows]


def execute(
    duck: "DuckDBPyConnection", statement: str, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows.

    Raise ProgressError if DuckDB cannot run it, and KeyboardInterrupt if the user presses Ctrl-C.
    """
    import duckdb

    try:
        return duck.execute(statement, dict(values) or None).fetchall()
    except duckdb.Error as error:
        raise ProgressError(f"DuckDB: {error}") from error
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # DuckDB's error after Ctrl-C
            raise
        raise KeyboardInterrupt from error


def _values(path: Path, selection: Selection) -> dict[str, object]:
    return {
        "files": [str(path)],
        "stream_id": selection.stream_id,
        "positions": list(selection.positions),
    }


@contextlib.contextmanager
def open_workspace() -> Iterator[Workspace]:
    """Open a workspace for the `with` block, and remove its folder afterwards."""
    with open_folder() as folder, open_duck(folder, memory=_MEMORY, threads=1) as duck:
        yield Workspace(folder, duck)


@contextlib.contextmanager
def open_duck(folder: Path | None, *, memory: str, threads: int) -> Iterator["DuckDBPyConnection"]:
    """Open a DuckDB for the `with` block.

    DuckDB spills data beyond `memory` to a subfolder; without a folder, it stores nothing on disk.
    """
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": memory,
        "temp_directory": f"{folder}/duckdb" if folder else "",
        "threads": str(threads),
    }
    with contextlib.closing(duckdb.connect(":memory:", config=config)) as duck:
        duck.execute("SET TimeZone = 'UTC'")
        yield duck


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Open a temporary folder for the `with` block; first remove the folders of dead processes.

    A process holds a lock on each of its folders. The system releases the lock when the process
    dies.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _lock(folder):
            shutil.rmtree(folder)
    with contextlib.ExitStack() as resources:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            # Another process may remove the folder before it is locked.
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                resources.enter_context(_lock(folder))
                folder.stat()
                break
        resources.callback(shutil.rmtree, folder)
        yield folder


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for the `with` block; raise OSError if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
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
