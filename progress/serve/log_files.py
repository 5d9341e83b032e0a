"""Log files of the local stack: each process appends to its own file, and the supervisor cuts it.

What a process has written stays if the process or the supervisor is killed.
"""

import asyncio
import contextlib
import os
import shutil
from io import FileIO
from pathlib import Path

LIMIT = 10 * 2**20  # bytes per file

_INTERVAL_S = 5.0


def open_log(path: Path) -> FileIO:
    """Open a log, private to its owner, for a process; the process appends what it writes."""
    return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))


async def keep_small(folder: Path) -> None:
    while True:
        cut_all(folder)
        await asyncio.sleep(_INTERVAL_S)


def cut_all(folder: Path, limit: int = LIMIT) -> None:
    """Move the lines of each log that is longer than the limit to `.log.old`.

    The processes that have the file open go on with it. A line is lost only if it is written
    between the last read and the truncation, which follows at once.
    """
    for log in folder.glob("*.log"):
        with contextlib.suppress(OSError):  # such as a full disk: the log stays as it is
            if log.stat().st_size < limit:
                continue
            with log.open("r+b", buffering=0) as file, open_log(log.with_suffix(".log.old")) as old:
                old.truncate(0)
                shutil.copyfileobj(file, old)
                file.truncate(0)
