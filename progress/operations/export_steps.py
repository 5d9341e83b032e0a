"""What all exports share: a snapshot, and most of the steps.

`export_user` and `export_statistics` have the actions of the step `write`.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Output, Storage
from progress.errors import ProgressError
from progress.operations import export_files
from progress.operations.claimed_operations import ClaimedOperation

_FILE = "operations/export_user"


class Written(NamedTuple):
    """A file that is completely written, and the time of its snapshot."""

    taken_at: datetime
    bytes: int
    sha256: str


@contextlib.contextmanager
def open_snapshot(connection: Connection, *, marks_formulas: bool) -> Iterator[None]:
    """Run the block in a read-only REPEATABLE READ transaction.

    With `marks_formulas`, an apostrophe precedes the texts that spreadsheet programs would run as
    formulas. The caller ends the transaction by closing the connection. Raise ProgressError if a
    rebuild replaces the read models during the block.
    """
    database.run(connection, _FILE, "begin")
    database.run(connection, _FILE, "date style")
    database.run(connection, _FILE, "mark formulas", marks=marks_formulas)
    tables = database.run(connection, _FILE, "read models")
    yield
    if database.run(connection, _FILE, "read models") != tables:
        raise ProgressError("a rebuild replaced the read models during the export")


def write_file(
    operation: ClaimedOperation,
    connection: Connection,
    name: str,
    suffix: str,
    write: Callable[[Connection, Output], Written],
) -> export_files.ExportedFile:
    """Write the operation's object; downloads are named after `name` and the snapshot's day."""
    path = export_files.object_name(operation.id, suffix)
    with _storage().writing(path) as output:
        file = write(connection, output)
        operation.raise_if_expired()
    return export_files.ExportedFile(
        object=path,
        file=f"{name}-{file.taken_at.date()}.{suffix}",
        bytes=file.bytes,
        sha256=file.sha256,
    )


def offer(operation: ClaimedOperation) -> object:
    """Return the description of the exported file. This description is the operation's result."""
    file = msgspec.convert(operation.outcomes["write"], export_files.ExportedFile)
    if not _storage().has(file.object):
        raise ProgressError("the exported file does not exist any more")
    return file


def delete(operation: ClaimedOperation) -> object:
    """Delete the exported object, if it exists."""
    for suffix in export_files.MEDIA_TYPES:
        _storage().remove_file(export_files.object_name(operation.id, suffix))
    return None


def _storage() -> Storage:
    return storage.open_storage(export_files.location(settings.current()))
