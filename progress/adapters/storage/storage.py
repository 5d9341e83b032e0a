"""Storage for files: a folder or a Cloud Storage bucket."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from progress.errors import ProgressError

PART = 1 << 20  # bytes of one read

_UNFINISHED = ".part"  # the end of a file's name while it is written


class Output(Protocol):
    """A file that is being written."""

    def write(self, data: bytes, /) -> object: ...


class Storage(Protocol):
    """Files by their paths; a method raises ProgressError if the storage fails."""

    def writing(self, path: str) -> AbstractContextManager[Output]:
        """Write a new file, which exists only if the block succeeds."""

    def reading(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes."""

    def folders(self) -> list[str]:
        """Return the names of the folders."""

    def files(self, folder: str) -> list[str]:
        """Return the names of the complete files in a folder, without those of its folders."""

    def has(self, path: str) -> bool:
        """Return whether the file exists."""

    def remove(self, name: str) -> None:
        """Remove a folder and its contents, if that is allowed."""

    def remove_file(self, path: str) -> None:
        """Remove a file, if it exists."""


def open_storage(location: str) -> Storage:
    """Open `gs://bucket/prefix` or a folder; raise ProgressError if `location` is neither."""
    if location.startswith("gs://"):
        from progress.adapters.storage.bucket import Bucket  # takes 330 ms

        return Bucket(location)
    # An empty location comes from an unset variable.
    if not location or "://" in location or location.startswith(("gs:", "gs/")):
        raise ProgressError(f"{location!r}: expected a folder, or gs://bucket/prefix")
    return Folder(Path(location))


class Folder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """Write a new file, which is on disk when the block ends."""
        with _translate_errors():
            target = self._path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            part = _part_of(target)
            try:
                with part.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
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
        """Return the names of the folders; an empty list if the storage does not exist."""
        if not self._path.exists():
            return []
        with _translate_errors():
            return sorted(entry.name for entry in self._path.iterdir() if entry.is_dir())

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder; an empty list if it does not exist."""
        path = self._path / folder
        if not path.exists():
            return []
        with _translate_errors():
            names = (entry.name for entry in path.iterdir() if entry.is_file())
            return sorted(name for name in names if not name.endswith(_UNFINISHED))

    def has(self, path: str) -> bool:
        """Return whether the file exists."""
        return (self._path / path).is_file()

    def remove(self, name: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._path / name, ignore_errors=True)

    def remove_file(self, path: str) -> None:
        """Remove the file, and the unfinished file of a writer that died."""
        target = self._path / path
        with _translate_errors():
            target.unlink(missing_ok=True)
            _part_of(target).unlink(missing_ok=True)


def _part_of(target: Path) -> Path:
    """Return the path of the file while it is written."""
    return target.with_name(target.name + _UNFINISHED)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "free disk space or grant access"
        raise ProgressError(f"{error.filename}: {error.strerror}; {advice}") from error
