"""Storage for files, and a folder as storage."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from progress.errors import ProgressError

PART = 1 << 20  # bytes per read

_UNFINISHED = ".part"  # the suffix of a file that is being written


class Output(Protocol):
    """A file that is being written."""

    def write(self, data: bytes, /) -> object: ...


class Content(NamedTuple):
    """The bytes of a small file, and the file's generation when they were read."""

    data: bytes
    generation: str


class StoredFile(NamedTuple):
    path: str
    bytes: int
    written_at: datetime


class Storage(Protocol):
    """Files, named by paths; a method raises ProgressError if the storage fails."""

    def writing(self, path: str) -> AbstractContextManager[Output]:
        """Write a new file, which exists only if the block succeeds."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file."""
        with self.writing(path) as output:
            output.write(data)

    def reading(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes."""

    def folders(self) -> list[str]:
        """Return the names of the folders; an empty list if the storage does not exist."""

    def files(self, folder: str) -> list[str]:
        """Return the names of the complete files directly in a folder, which may not exist."""

    def has(self, path: str) -> bool:
        """Return whether the file exists."""

    def remove(self, name: str) -> None:
        """Remove a folder and its contents."""

    def remove_file(self, path: str) -> None:
        """Remove a file, if it exists."""

    def read(self, path: str) -> Content | None:
        """Return a small file; None if it does not exist."""

    def replace(self, path: str, data: bytes, generation: str | None) -> str:
        """Replace a small file, and return its new generation.

        `generation` is the generation that the caller has read; None if the file did not exist.
        Raise ProgressError if another writer has written the file since then.
        """

    def list_tree(self, folder: str, *, former: bool = False) -> Iterator[StoredFile]:
        """Yield each file in a folder and its subfolders once, also unfinished files.

        With `former`, also yield deleted files that still have former generations.
        """

    def purge(self, path: str) -> None:
        """Remove a file with all its generations, if it exists."""

    def lifetime(self) -> timedelta | None:
        """Return the time after which no file can be restored; None if files are kept for ever."""


class Folder(Storage):
    """A folder on this machine. Only the owner can access the files and folders that it creates."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """Write a new file, which is on disk when the block ends."""
        with _translate_errors():
            target = self._path / path
            changed = _make_folder(target.parent)
            part = _part_of(target)
            try:
                with open(part, "wb", opener=_open_private) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
                for folder in changed:
                    _sync(folder)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def reading(self, path: str) -> Iterator[bytes]:
        """Yield the file's bytes, a megabyte at a time."""
        with _translate_errors(), self._open(path) as file:
            while data := file.read(PART):
                yield data

    def _open(self, path: str) -> BinaryIO:
        """Open a regular file; reject a pipe or a device, because reading it might never end."""
        target = self._path / path
        file = os.fdopen(os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise ProgressError(f"{target}: expected a file")
        return file

    def folders(self) -> list[str]:
        with _translate_errors():
            if not self._path.exists():
                return []
            return sorted(entry.name for entry in self._path.iterdir() if entry.is_dir())

    def files(self, folder: str) -> list[str]:
        path = self._path / folder
        with _translate_errors():
            if not path.exists():
                return []
            names = (entry.name for entry in path.iterdir() if entry.is_file())
            return sorted(name for name in names if not name.endswith(_UNFINISHED))

    def has(self, path: str) -> bool:
        with _translate_errors():
            return (self._path / path).is_file()

    def remove(self, name: str) -> None:
        shutil.rmtree(self._path / name, ignore_errors=True)

    def remove_file(self, path: str) -> None:
        """Remove the file, and the unfinished file of a writer that died."""
        target = self._path / path
        with _translate_errors():
            target.unlink(missing_ok=True)
            _part_of(target).unlink(missing_ok=True)

    def read(self, path: str) -> Content | None:
        """Return a small file; its generation is the hash of its content."""
        if not self.has(path):
            return None
        data = b"".join(self.reading(path))
        return Content(data, _generation(data))

    def replace(self, path: str, data: bytes, generation: str | None) -> str:
        with _translate_errors():
            _make_folder(self._path)
            with _locked(self._path):
                current = self.read(path)
                if (current.generation if current else None) != generation:
                    raise changed_meanwhile(self._path / path)
                self.write(path, data)
        return _generation(data)

    def list_tree(self, folder: str, *, former: bool = False) -> Iterator[StoredFile]:  # noqa: ARG002 - has no effect
        """Yield the files; on this machine, a file has no former generations."""
        tree = os.walk(self._path / folder, onerror=_raise_unless_missing)
        with _translate_errors():
            for path in sorted(Path(parent, name) for parent, _, names in tree for name in names):
                try:
                    state = path.stat()
                except FileNotFoundError:  # another process has renamed or removed the file
                    continue
                if stat.S_ISREG(state.st_mode):
                    written_at = datetime.fromtimestamp(state.st_mtime, UTC)
                    yield StoredFile(
                        path.relative_to(self._path).as_posix(), state.st_size, written_at
                    )

    def purge(self, path: str) -> None:
        """Remove the file; if its folder is then empty, remove the folder too."""
        self.remove_file(path)
        with contextlib.suppress(OSError):
            (self._path / path).parent.rmdir()

    def lifetime(self) -> None:
        """Return None: nothing removes a file because of its age."""


def encode_json(document: object) -> bytes:
    """Return the document as JSON with a line for each field."""
    return msgspec.json.format(msgspec.json.encode(document))


def changed_meanwhile(path: object) -> ProgressError:
    """Return the error that `replace` raises if another writer was faster."""
    return ProgressError(f"{path}: another writer has changed it meanwhile; run again")


def _generation(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the file system frees it when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _make_folder(folder: Path) -> list[Path]:
    """Make the folder; return what needs a sync: itself, and the parent of each new folder."""
    missing = [new for new in (folder, *folder.parents) if not new.exists()]
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
    return [folder, *(new.parent for new in missing)]


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    """Write the folder's entries to disk, because otherwise a crash may lose a renamed file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part_of(target: Path) -> Path:
    """Return the path that the file has while it is being written."""
    return target.with_name(target.name + _UNFINISHED)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "free disk space or grant access"
        raise ProgressError(f"{error.filename}: {error.strerror}; {advice}") from error
