"""Permissions in the data folder of a local stack."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Create files with this mask during the block."""
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
