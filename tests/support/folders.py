"""Folders of servers that tests start."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A database is 700 files: on a disk in memory it is made in a tenth of the time.
_MEMORY = Path("/dev/shm")  # noqa: S108 - only names below it that nobody else has are used
_ENOUGH = 4 << 30


@contextmanager
def create(what: str) -> Iterator[Path]:
    """A folder as long as the block lasts.

    Not below pytest's own: as root the server's user is let through to it.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"progress-{what}-", dir=_place()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path | None:
    """Memory, where the system has so much of it to spare; None: wherever such folders are."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        return _MEMORY
    return None
