"""Temporary folders of servers, and permissions in the data folder of a local stack."""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# A database consists of 700 files. Creating them takes 10 times as long on a disk as in memory.
_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp creates a new folder in it
_ENOUGH = 4 << 30


@contextmanager
def create(what: str) -> Iterator[Path]:
    """Create a folder, which is deleted at the end of the block.

    The folder is outside pytest's private folder, because the server's system user needs access to
    all parent folders.
    """
    place = _MEMORY if has_memory() else None  # the system's default
    folder = Path(tempfile.mkdtemp(prefix=f"progress-{what}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def has_memory() -> bool:
    return _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH


@contextmanager
def mount(folder: Path, options: str) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the privilege to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def list_open_files(folder: Path) -> list[str]:
    """Return the paths that users other than the owner may access.

    If root runs PostgreSQL, the group of PostgreSQL's system user may pass through `folder`.
    """
    accessible = []
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            passes = path == folder and os.geteuid() == 0 and state.st_gid != 0
            folder_mode = 0o710 if passes else 0o700
            is_open_socket = path.is_socket() and path.parent.stat().st_mode & 0o077 == 0
            allowed = folder_mode if path.is_dir() else 0o777 if is_open_socket else 0o600
            if stat.S_IMODE(state.st_mode) & ~allowed:
                accessible.append(f"{path} {state.st_mode:o}")
    return accessible
