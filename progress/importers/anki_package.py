"""Open an Anki collection: a package (.colpkg, .apkg), or the database that Anki itself uses.

A package is a zip file. In the newest format, its collection is `collection.anki21b`, a SQLite
database compressed with zstd. Such a package also contains a `collection.anki2` for older programs.
This file contains only a note that asks the user to update Anki.
"""

import contextlib
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from progress.errors import ReviewLogError

_COMPRESSED = "collection.anki21b"
_NAMES = (_COMPRESSED, "collection.anki21", "collection.anki2")  # newest first
_MAX_BYTES = 2 << 30  # of a collection; images and sounds are separate files and do not count
_CHUNK = 1 << 20
# zipfile raises RuntimeError for an encrypted file, NotImplementedError for an unknown feature.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
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
    except _ZIP_ERRORS as error:
        raise ReviewLogError(f"the package is damaged ({error}): export it again") from None


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
        if size > _MAX_BYTES:
            raise ReviewLogError(f"expected a collection of at most {_MAX_BYTES >> 30} GiB")
        target.write(chunk)


def _connect(database: Path) -> sqlite3.Connection:
    # Do not wait for Anki's lock: Anki releases the lock only when the user closes Anki.
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=0)


@contextlib.contextmanager
def _reporting_damage() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ReviewLogError("Anki has the collection open: close Anki and try again") from None
        raise ReviewLogError(f"expected an Anki collection: {error}") from None
    except sqlite3.DatabaseError as error:
        raise ReviewLogError(f"the collection is damaged: {error}") from None
