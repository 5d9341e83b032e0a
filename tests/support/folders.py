"""Temporary folders for the servers that tests start."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A database consists of 700 files. Creating them takes 10 times as long on a disk as in memory.
_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp creates a new folder in it
_ENOUGH = 4 << 30


@contextmanager
def create(what: str) -> Iterator[Path]:
    """Create a folder, which is deleted at the end of the block.

    The folder is outside pytest's private folder, because the server's system user needs access to
    all parent folders.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"progress-{what}-", dir=_place()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path | None:
    """Return a folder in memory if enough memory is free, otherwise None (the system's default)."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        return _MEMORY
    return None
