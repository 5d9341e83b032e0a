"""The data folder of a local stack: its lock, and its state with processes and addresses."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from progress.errors import StackError
from progress.serve import processes, readiness
from progress.serve.processes import Process

VERSION = 1  # the version of the folder's layout; a stack rejects other versions

_MIN_FREE_BYTES = 200 * 2**20  # enough for a new database, its write-ahead log and a reserve


class StackState(msgspec.Struct, kw_only=True):
    """The running processes and their addresses, as the supervisor writes them."""

    supervisor: Process
    phase: Literal["starting", "ready"]
    addresses: dict[str, str]
    key: str = ""  # by which the processes of the system, and commands, know each other
    processes: dict[str, Process] = {}
    answering: list[str] = []  # ready processes, in the order in which they became ready


class DataFolder:
    """The folder of a local stack, with its absolute path."""

    def __init__(self, path: Path) -> None:
        self.path, self.postgres = path, path / "postgres"
        self.key = path / "development-key.pem"
        self.lock, self.logs = path / "lock", path / "logs"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def state(self) -> StackState | None:
        """Return the last state that was written; None if there is no readable state."""
        try:
            return msgspec.json.decode((self.path / "stack.json").read_bytes(), type=StackState)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None

    def write(self, state: StackState) -> None:
        new = self.path / "stack.json.new"
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        new.replace(self.path / "stack.json")


def at(path: str) -> DataFolder:
    return DataFolder(Path(path).absolute())


@contextlib.contextmanager
def owner_only() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def make_usable(folder: DataFolder) -> None:
    """Create the folder if it is missing; a new or empty one is closed to all but its owner.

    Raise StackError if the folder is not writable, its disk has too little space, or its version is
    wrong.
    """
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        with owner_only():
            folder.path.mkdir(exist_ok=True)
            if not any(folder.path.iterdir()):  # else it may be a shared one, such as /tmp
                folder.path.chmod(0o700)
            folder.logs.mkdir(exist_ok=True)
            probe = folder.path / ".probe"
            probe.write_bytes(bytes(4096))
            probe.unlink()
    except OSError as error:
        raise StackError(
            f"cannot write to the data folder {folder.path}: {error.strerror}; "
            "free some space or grant access there, or set PROGRESS_DATA_DIR to another folder"
        ) from None
    free = shutil.disk_usage(folder.path).free
    if free < _MIN_FREE_BYTES:
        raise StackError(
            f"the disk of the data folder {folder.path} has {free >> 20} MB free, and "
            f"{_MIN_FREE_BYTES >> 20} are needed: free some space, or set PROGRESS_DATA_DIR to a "
            "folder on another disk"
        )
    with owner_only():
        _check_version(folder.path / "VERSION", VERSION, "data folder")


def check_postgres(folder: DataFolder, major: int) -> None:
    _check_version(folder.postgres / "PG_VERSION", major, "database")


def _check_version(file: Path, expected: int, subject: str) -> None:
    found = file.read_text(encoding="ascii").strip() if file.exists() else ""
    if not found and subject == "data folder":
        file.write_text(f"{expected}\n", encoding="ascii")
    elif found and found != str(expected):
        age = "newer" if not found.isdigit() or int(found) > expected else "older"
        raise StackError(
            f"the {subject} in {file.parent} has the {age} version {found}, expected {expected}: "
            "use the Progress version that created it, or set PROGRESS_DATA_DIR to another folder"
        )


@contextlib.contextmanager
def hold(folder: DataFolder, *, timeout_s: float = 0.0) -> Iterator[bool]:
    """Lock the folder until the block or the process ends; yield False if the lock is taken.

    Retry for `timeout_s`, because another process's `is_held` takes the lock for an instant.
    """
    with owner_only():
        file = folder.lock.open("wb")
    with file:

        def lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            readiness.wait(lock, "the data folder", seconds=timeout_s)
        except StackError:
            yield False
            return
        yield True


def is_held(folder: DataFolder) -> bool:
    if not folder.lock.exists():
        return False
    with hold(folder) as is_free:
        return not is_free


def running(folder: DataFolder) -> StackState:
    """Return the state of the running stack; raise StackError if no stack runs."""
    state = folder.state()
    if state is None or state.phase != "ready" or not processes.is_alive(state.supervisor):
        raise StackError("the local stack is not running: start it with `progress up` (or `serve`)")
    return state


def end_leftovers(folder: DataFolder) -> None:
    """End the processes that a killed supervisor has left behind."""
    if state := folder.state():
        processes.end_all([*state.processes.values()], seconds=10)
        processes.kill_sessions(folder.postgres)
