"""Outputs that count, hash or buffer what is written to a file of a storage."""

import hashlib
from collections.abc import Callable
from typing import Any

from progress.adapters.storage.storage import Output

_BUFFER = 1 << 18  # bytes
_REPORT_INTERVAL = 1_000  # rows


class Rows:
    """A buffer for the rows of a COPY: rows arrive one at a time, and are compressed together."""

    def __init__(self, output: Output, report_rows: Callable[[int], None]) -> None:
        self.lines, self._buffer = 0, bytearray()
        self._output, self._report_rows = output, report_rows

    def write(self, row: bytes) -> None:
        self._buffer += row
        self.lines += 1
        if len(self._buffer) >= _BUFFER:
            self.flush()
        if self.lines % _REPORT_INTERVAL == 0:
            self._report_rows(self.lines)

    def flush(self) -> None:
        """Write the buffered rows."""
        self._output.write(bytes(self._buffer))
        self._buffer.clear()


class HashedOutput:
    """An output that cannot seek; it knows the size and the hash of the data written so far."""

    def __init__(self, output: Output) -> None:
        self.bytes, self.digest, self._output = 0, hashlib.sha256(), output

    def write(self, data: Any) -> int:
        """Write the data; return its length, as `zipfile` expects."""
        part = bytes(data)
        self.bytes += len(part)
        self.digest.update(part)
        self._output.write(part)
        return len(part)

    def flush(self) -> None:
        """Do nothing: the storage flushes the file at the end."""
