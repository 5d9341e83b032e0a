"""Open an Anki collection: a package (.colpkg, .apkg), or the database that Anki itself uses.

A package is a zip file. In the newest format, its collection is `collection.anki21b`, a SQLite
database compressed with zstd. Such a package also contains a `collection.anki2` for older programs.
This file contains only a note that asks the user to update Anki.
"""

import contextlib
import errno
import sqlite3
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from progress.adapters.postgres.statements import blocks
from progress.errors import ReviewLogError

_COMPRESSED = "collection.anki21b"
_NAMES = (_COMPRESSED, "collection.anki21", "collection.anki2")  # newest first
_MAX_BYTES = 2 << 30  # of a collection; images and sounds are separate files and do not count
_CHUNK = 1 << 20
_MAX_VALUE_BYTES = 64 << 20  # of a text or a blob
# Most collections take a few seconds. A damaged or hostile collection may join its rows for hours.
_TIME_LIMIT_S = 60.0
_STEPS = 1_000  # of SQLite's virtual machine, between two looks at the clock
# zipfile raises RuntimeError for an encrypted file, NotImplementedError for an unknown feature, and
# ValueError and struct.error for some damaged headers.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(ValueError, struct.error),
)
_ZIP, _SQLITE = b"PK\x03\x04", b"SQLite format 3\0"


def is_collection(file: Path) -> bool:
    """Return whether the file is a package or a collection, by its first bytes or its name."""
    if file.suffix in {".colpkg", ".apkg", ".anki2", ".anki21"}:
        return True
    with file.open("rb") as stream:
        return stream.read(len(_SQLITE)).startswith((_ZIP, _SQLITE))


@contextlib.contextmanager
def open_collection(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the file's collection for reading; raise ReviewLogError if that is impossible."""
    with tempfile.TemporaryDirectory(prefix="progress-anki-") as folder:
        with file.open("rb") as stream:
            begin = stream.read(len(_SQLITE))
        if begin.startswith(_SQLITE):
            database = file
            _require_size(file.stat().st_size)
        elif begin.startswith(_ZIP):
            database = Path(folder, "collection")
            _extract(file, database)
        else:
            raise ReviewLogError(
                "expected an Anki package: this file is damaged, or is not a package"
            )
        with contextlib.closing(_connect(database)) as connection, _reporting_damage():
            yield connection


def _extract(file: Path, target: Path) -> None:
    """Write the collection to `target`, in the newest format that the package contains."""
    try:
        with zipfile.ZipFile(file) as package:
            name = next((name for name in _NAMES if name in package.namelist()), None)
            if name is None:
                raise ReviewLogError("expected an Anki package: this zip file has no collection")
            _require_known_compression(package.getinfo(name))
            with package.open(name) as source, target.open("wb") as database:
                if name == _COMPRESSED:
                    _decompress(source, database)
                else:
                    _copy(source, database)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a damaged header leads to a place before the file's begin
            raise
        raise ReviewLogError("the package is damaged (wrong offset): export it again") from None
    except _ZIP_ERRORS as error:
        raise ReviewLogError(f"the package is damaged ({error!s:.200}): export it again") from None


def _require_known_compression(member: zipfile.ZipInfo) -> None:
    """Raise ReviewLogError if the file has a compression that Anki does not use.

    zipfile supports other compressions as well. Their decompressors raise errors that `_ZIP_ERRORS`
    does not contain.
    """
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ReviewLogError(
            "expected a package that Anki wrote: Anki does not use this zip file's compression"
        )


def _decompress(source: IO[bytes], target: IO[bytes]) -> None:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True) as reader:
            _copy(reader, target)
    except zstandard.ZstdError as error:
        raise ReviewLogError(
            f"the collection in the package is damaged ({error}): export it again"
        ) from None


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a file whose size is not known in advance."""
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        _require_size(size)
        target.write(chunk)


def _require_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise ReviewLogError(f"expected a collection of at most {_MAX_BYTES >> 30} GiB")


def _connect(database: Path) -> sqlite3.Connection:
    """Open a database that may be hostile: limit its values and the time of all its queries."""
    # Do not wait for Anki's lock: Anki releases the lock only when the user closes Anki.
    address = f"{database.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    deadline = time.monotonic() + _TIME_LIMIT_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    connection.executescript(blocks("importers/anki")["protect"])
    return connection


@contextlib.contextmanager
def _reporting_damage() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ReviewLogError(_explain(error)) from None
    except UnicodeDecodeError:  # SQLite's error message contains a part of a damaged schema
        raise ReviewLogError("the collection is damaged: its schema is not in UTF-8") from None
    except sqlite3.Error as error:
        raise ReviewLogError(f"the collection is damaged: {_shorten(error)}") from None


def _explain(error: sqlite3.OperationalError) -> str:
    # An error of the module sqlite3 itself, for example about text that is not UTF-8, has no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension of the code
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "Anki has the collection open: close Anki and try again"
    if code == sqlite3.SQLITE_INTERRUPT:
        return (
            f"the collection cannot be read within {_TIME_LIMIT_S:.0f} s: in Anki, run Tools > "
            "Check Database and export it again"
        )
    return f"expected an Anki collection: {_shorten(error)}"


def _shorten(error: sqlite3.Error) -> str:
    return " ".join(str(error).split())[:200]  # the message may contain text of the collection
