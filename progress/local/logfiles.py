"""Log files of the local stack: one process writes what all parts say, and rotates the files.

Each part writes to a socket of its own. The writer leaves the bytes in the socket until they are in
the file, so that one that is killed loses nothing; the supervisor starts it again. A file is
rotated at the end of a line: it and the one before it hold twice the limit at most.
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

LIMIT = 10 * 2**20  # bytes of a file
PRIVATE = 0o600

_CHUNK = 2**16
_CHUNKS = 16  # of one part; then it is the next one's turn
_WITHIN_S = 5.0
_PAUSE_S = 0.01  # between two rounds: busy parts are read in large chunks


class LogFile:
    """A file that is put aside, as `.log.old`, once it is longer than the limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._file: int | None = None
        self._lost = 0
        self._in_line = False
        with contextlib.suppress(OSError):
            self._opened()  # who looks for it finds it, though the part says nothing

    def write(self, data: bytes) -> None:
        """Append; what a full disk refuses is counted, and told once there is room again."""
        while data:
            try:
                data = self._append(data)
            except OSError:
                self._lost += len(data)
                return

    def _append(self, data: bytes) -> bytes:
        """Write the beginning; the rest is given back."""
        if not self._in_line and os.fstat(self._opened()).st_size >= self._limit:
            self._rotate()
        file = self._opened()
        if self._lost:
            begun = b"\n" if self._in_line else b""
            os.write(file, b"%s... %d bytes lost: the disk was full\n" % (begun, self._lost))
            self._lost = 0
        room = max(0, self._limit - os.fstat(file).st_size)
        end = data.find(b"\n", room) + 1 or len(data)
        written = os.write(file, data[:end])
        self._in_line = data[written - 1 : written] != b"\n"
        return data[written:]

    def _opened(self) -> int:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, PRIVATE)
        return self._file

    def _rotate(self) -> None:
        self._path.replace(self._path.with_suffix(".log.old"))
        if self._file is not None:
            os.close(self._file)
            self._file = None


class OwnLog(logging.StreamHandler[TextIO]):
    """Handler of a process whose standard output is the file itself: it rotates that one, too."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        super().__init__(sys.stdout)
        self._path, self._limit = path, limit

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with contextlib.suppress(OSError):
            if os.fstat(1).st_size >= self._limit:
                self._path.replace(self._path.with_suffix(".log.old"))
                file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE)
                for output in (1, 2):
                    os.dup2(file, output)
                os.close(file)


class LogSockets:
    """The supervisor's ends of the sockets, and the process that reads them."""

    def __init__(self, folder: Path, parts: Iterable[str], limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._pairs = {name: socket.socketpair() for name in parts}

    def writer(self, part: str) -> int:
        """The part's standard output."""
        return self._pairs[part][1].fileno()

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process that writes the files; it ends when every writing end is closed."""
        reading = {name: pair[0].fileno() for name, pair in self._pairs.items()}
        named = [f"{name}={file}" for name, file in reading.items()]
        command = [sys.executable, "-m", __name__, str(self._folder), str(self._limit), *named]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=list(reading.values()),
            cwd=Path(__file__).parent.parent.parent,
            start_new_session=True,
        )

    def is_written(self, part: str) -> bool:
        """Tell whether all that the part said so far is in its file."""
        unread = fcntl.ioctl(self._pairs[part][0], termios.FIONREAD, bytes(4))
        return struct.unpack("i", unread) == (0,)

    async def written(self, part: str) -> None:
        """Wait until all that the part said is in its file, or the writer takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                while not self.is_written(part):
                    await asyncio.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the supervisor's ends."""
        for pair in self._pairs.values():
            for each in pair:
                each.close()


def write_all(sources: dict[socket.socket, LogFile]) -> None:
    """Write what comes until every source has ended."""
    with selectors.DefaultSelector() as ready:
        for source, target in sources.items():
            source.setblocking(False)
            ready.register(source, selectors.EVENT_READ, (source, target))
        while ready.get_map():
            for key, _ in ready.select():
                if not _move(*key.data):
                    ready.unregister(key.fileobj)
            time.sleep(_PAUSE_S)


def _move(source: socket.socket, target: LogFile) -> bool:
    """Write what there is; False at the end."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(_CHUNKS):
            data = source.recv(_CHUNK, socket.MSG_PEEK)
            if not data:
                return False
            target.write(data)
            source.recv(len(data))
    return True


def main() -> None:
    """`python -m progress.local.logfiles FOLDER LIMIT PART=FD …`: until all have ended."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("limit", type=int)
    arguments.add_argument("sources", nargs="+")
    given = arguments.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # the parts' last words are written, too
    pairs = (each.partition("=") for each in given.sources)
    write_all(
        {
            socket.socket(fileno=int(file)): LogFile(given.folder / f"{name}.log", given.limit)
            for name, _, file in pairs
        }
    )


if __name__ == "__main__":
    main()
