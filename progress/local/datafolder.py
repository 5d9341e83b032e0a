"""The folder with a local stack's state: who has it, what runs, where its parts are."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from progress.errors import StackError
from progress.local import readiness
from progress.local.processes import Process

VERSION = 1  # of what is in the folder; a stack does not touch a folder of a newer one

_NEEDED = 200 * 2**20  # bytes: a new database with its write-ahead log, and some room


class State(msgspec.Struct, kw_only=True):
    """What runs; the supervisor writes it, everyone else reads it."""

    supervisor: Process
    phase: Literal["starting", "ready"]
    addresses: dict[str, str]
    processes: dict[str, Process] = {}
    answering: list[str] = []  # the parts that have answered, in their order


@dataclass(frozen=True)
class DataFolder:
    """A local stack's folder, by its absolute path."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def key(self) -> Path:
        return self.path / "development-key.pem"

    @property
    def codes(self) -> Path:
        return self.path / "codes"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def state(self) -> State | None:
        """What was written last; None where nothing was."""
        try:
            return msgspec.json.decode((self.path / "stack.json").read_bytes(), type=State)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None

    def write(self, state: State) -> None:
        part = self.path / "stack.json.new"
        part.touch(mode=0o600)
        part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        part.replace(self.path / "stack.json")


def at(path: str) -> DataFolder:
    """The folder as `PROGRESS_DATA_DIR` names it."""
    return DataFolder(Path(path).absolute())


@contextlib.contextmanager
def private() -> Iterator[None]:
    """What the block makes is its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def make_usable(folder: DataFolder) -> None:
    """Make the folder where it is missing, for its owner alone.

    StackError where it cannot serve, and why.
    """
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        with private():
            folder.logs.mkdir(parents=True, exist_ok=True)
            _close_to_others(folder)
            probe = folder.path / ".probe"
            probe.write_bytes(bytes(4096))
            probe.unlink()
    except OSError as fault:
        raise StackError(
            f"cannot write to the data folder {folder.path}: {fault.strerror}; "
            "make room or rights there, or set PROGRESS_DATA_DIR to another"
        ) from None
    free = shutil.disk_usage(folder.path).free
    if free < _NEEDED:
        raise StackError(
            f"the disk of the data folder {folder.path} is full: {free >> 20} MB free, "
            f"{_NEEDED >> 20} needed; make room or set PROGRESS_DATA_DIR to another disk"
        )
    with private():
        _check_version(folder.path / "VERSION", VERSION, "data folder")


def _close_to_others(folder: DataFolder) -> None:
    """Take from others what an earlier version gave them.

    As root the way to PostgreSQL stays open (o+x), for the user that it runs as.
    """
    if (folder.path / "VERSION").exists():
        folder.path.chmod(folder.path.stat().st_mode & (0o711 if os.geteuid() == 0 else 0o700))
    folder.logs.chmod(0o700)
    ours = [folder.path / name for name in ("VERSION", "stack.json")]
    for file in (*ours, folder.key, folder.lock, *folder.logs.iterdir()):
        if file.exists():
            file.chmod(0o600)


def check_postgres(folder: DataFolder, served: int) -> None:
    """StackError where another major version of PostgreSQL than `served` made the database."""
    _check_version(folder.postgres / "PG_VERSION", served, "database")


def _check_version(file: Path, ours: int, what: str) -> None:
    found = file.read_text(encoding="ascii").strip() if file.exists() else ""
    if not found and what == "data folder":
        file.write_text(f"{ours}\n", encoding="ascii")
    elif found and found != str(ours):
        age = "newer" if not found.isdigit() or int(found) > ours else "older"
        raise StackError(
            f"the {what} in {file.parent} is of the {age} version {found}, this is {ours}: "
            "use the version of Progress that made it, or set PROGRESS_DATA_DIR to another folder"
        )


@contextlib.contextmanager
def held(folder: DataFolder, *, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the folder until the block or the process ends; False where another process does.

    It is asked for again for so many `seconds`: `is_held` holds it for an instant.
    """
    with private():
        file = folder.lock.open("wb")
    with file:

        def free() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            readiness.wait(free, "the data folder", seconds=seconds)
        except StackError:
            yield False
            return
        yield True


def is_held(folder: DataFolder) -> bool:
    """Whether a stack runs on this folder."""
    if not folder.lock.exists():
        return False
    with held(folder) as free:
        return not free
