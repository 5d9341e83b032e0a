"""Log files of the local stack: one writer process stores the output of all other processes.

Each process writes to a separate socket. The writer leaves the bytes in the socket until they are
in the file, so that nothing is lost if the writer is killed and the supervisor restarts it. Files
are rotated at the end of the line that exceeds the limit. One older file of each log is kept.
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

from progress import files

LIMIT = 10 * 2**20  # bytes per file
PRIVATE = 0o600

_CHUNK_BYTES = 2**16
_CHUNKS_PER_ROUND = 16  # per process; limited, so that a busy process does not delay the others
_FLUSH_TIMEOUT_S = 5.0
_PAUSE_S = 0.01  # a pause between two rounds lets larger chunks accumulate


class LogFile:
    """A log file, which is renamed to `.log.old` once it is longer than the limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._file: int | None = None
        self._lost = 0
        self._in_line = False
        with contextlib.suppress(OSError):
            self._open()  # so that the file exists even if the process writes nothing

    def write(self, data: bytes) -> None:
        """Append data; count the bytes lost to a full disk, and report them once there is space."""
        while data:
            try:
                data = self._append(data)
            except OSError:
                self._lost += len(data)
                return

    def _append(self, data: bytes) -> bytes:
        """Write data up to the rotation point; return the data that is left."""
        if not self._in_line and os.fstat(self._open()).st_size >= self._limit:
            self._rotate()
        file = self._open()
        if self._lost:
            line_break = b"\n" if self._in_line else b""
            os.write(file, b"%s... %d bytes lost: the disk was full\n" % (line_break, self._lost))
            self._lost = 0
        room = max(0, self._limit - os.fstat(file).st_size)
        end = data.find(b"\n", room) + 1 or len(data)
        written = os.write(file, data[:end])
        self._in_line = data[written - 1 : written] != b"\n"
        return data[written:]

    def _open(self) -> int:
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
    """A log handler for a process whose standard output is a file; the handler rotates the file."""

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
    """The sockets that the processes write to, and the writer process that reads them."""

    def __init__(self, folder: Path, parts: Iterable[str], limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._pairs = {name: socket.socketpair() for name in parts}

    def writer(self, part: str) -> int:
        """Return the file descriptor to which the process writes its standard output."""
        return self._pairs[part][1].fileno()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the writer process; it ends when no process has a socket open any more."""
        readers = {name: pair[0].fileno() for name, pair in self._pairs.items()}
        sources = [f"{name}={file}" for name, file in readers.items()]
        command = [sys.executable, "-m", __name__, str(self._folder), str(self._limit), *sources]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=list(readers.values()),
            cwd=files.ROOT,
            start_new_session=True,
        )

    def is_written(self, part: str) -> bool:
        """Return whether the log file contains everything that the process has written so far."""
        unread = fcntl.ioctl(self._pairs[part][0], termios.FIONREAD, bytes(4))
        return struct.unpack("i", unread) == (0,)

    async def flush(self, part: str) -> None:
        """Wait at most 5 s until all output of the process is in its log file."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                while not self.is_written(part):
                    await asyncio.sleep(_PAUSE_S)

    def close(self) -> None:
        for pair in self._pairs.values():
            for end in pair:
                end.close()


def write_all(sources: dict[socket.socket, LogFile]) -> None:
    """Copy each source to its file until every source has ended."""
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
    """Copy the available bytes; return False at the end of the source."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(_CHUNKS_PER_ROUND):
            data = source.recv(_CHUNK_BYTES, socket.MSG_PEEK)
            if not data:
                return False
            target.write(data)
            source.recv(len(data))
    return True


def main() -> None:
    """Run the writer process: `python -m progress.local.log_files FOLDER LIMIT NAME=FD …`."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("limit", type=int)
    arguments.add_argument("sources", nargs="+")
    options = arguments.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # keep writing while the processes stop
    pairs = (source.partition("=") for source in options.sources)
    write_all(
        {
            socket.socket(fileno=int(file)): LogFile(options.folder / f"{name}.log", options.limit)
            for name, _, file in pairs
        }
    )


if __name__ == "__main__":
    main()
