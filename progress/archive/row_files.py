"""CSV files on this machine that receive the rows of a COPY, with separate files for each bucket.

A DuckDB statement reads the files of only one bucket, and loads each file as a whole. The files are
small. The memory of a statement therefore depends on the size of a bucket and the size of a file,
but not on the total number of rows.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAX_BYTES = 16 << 20  # when a file has reached this size, the next row begins another file


class RowFiles:
    """The output of a COPY whose first column is the bucket."""

    def __init__(self, folder: Path, resources: contextlib.ExitStack) -> None:
        self.by_bucket: dict[int, list[Path]] = defaultdict(list)
        self._folder, self._resources = folder, resources
        self._files: dict[bytes, BinaryIO] = {}
        self._bytes: dict[bytes, int] = {}

    def write(self, row: bytes) -> None:
        """Write a row; each call gets one row, because PostgreSQL sends one row per message."""
        bucket = row[: row.index(b",")]
        if self._bytes.get(bucket, _MAX_BYTES) >= _MAX_BYTES:
            self._begin_file(bucket)
        self._bytes[bucket] += self._files[bucket].write(row)

    def _begin_file(self, bucket: bytes) -> None:
        if bucket in self._files:
            self._files[bucket].close()
        paths = self.by_bucket[int(bucket)]
        paths.append(self._folder / f"{int(bucket)}-{len(paths)}.csv")
        self._files[bucket] = self._resources.enter_context(paths[-1].open("wb"))
        self._bytes[bucket] = 0


@contextlib.contextmanager
def open_files(folder: Path) -> Iterator[RowFiles]:
    """Yield an output that writes rows to files, and close its files when the block ends."""
    with contextlib.ExitStack() as resources:
        yield RowFiles(folder, resources)
