"""Where backups lie: a folder, or a bucket of Cloud Storage."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from progress.errors import ProgressError

PART = 1 << 20  # bytes that are read at once


class Output(Protocol):
    """Takes bytes, one after the other."""

    def write(self, data: bytes, /) -> object: ...


class Storage(Protocol):
    """Files under paths `backup/file`; ProgressError where they cannot be had."""

    def writing(self, path: str) -> AbstractContextManager[Output]:
        """A new file: there once the block has ended well, else not at all."""

    def reading(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""

    def folders(self) -> list[str]:
        """The names of the folders in it."""

    def has(self, path: str) -> bool:
        """Whether there is such a file."""

    def remove(self, name: str) -> None:
        """A folder with all that is in it, as far as that is allowed."""


def at(where: str) -> Storage:
    """`gs://bucket/prefix`, or the path of a folder; ProgressError where it is neither."""
    if where.startswith("gs://"):
        from progress.recovery.bucket import Bucket  # a third of a second: at first use

        return Bucket(where)
    if not where or "://" in where or where.startswith(("gs:", "gs/")):  # or a variable not set
        raise ProgressError(f"{where!r}: expected a folder, or gs://bucket/prefix")
    return Folder(Path(where))


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """It is on the disk when the block ends."""
        with _told():
            target = self._path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)

    def reading(self, path: str) -> Iterator[bytes]:
        """Its bytes, a megabyte at a time."""
        with _told(), self._opened(path) as file:
            while data := file.read(PART):
                yield data

    def _opened(self, path: str) -> BinaryIO:
        """The file; a pipe or a device in its place would never end."""
        whole = self._path / path
        file = os.fdopen(os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise ProgressError(f"{whole}: expected a file")
        return file

    def folders(self) -> list[str]:
        """None where it is not there."""
        if not self._path.exists():
            return []
        with _told():
            return sorted(each.name for each in self._path.iterdir() if each.is_dir())

    def has(self, path: str) -> bool:
        """Whether it is there."""
        return (self._path / path).is_file()

    def remove(self, name: str) -> None:
        """At once."""
        shutil.rmtree(self._path / name, ignore_errors=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise ProgressError(f"{fault.filename}: {fault.strerror}; make room or rights") from fault
