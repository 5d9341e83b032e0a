"""The steps of the exports: write a file, offer it, or delete it."""

from collections.abc import Callable

import msgspec

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Output, Storage
from progress.errors import ProgressError
from progress.operations import export_files, export_statistics, export_user
from progress.operations.claim import ClaimedOperation, connection_for, parse_arguments
from progress.operations.export_streams import Written
from progress.projections import schema


class UserArguments(msgspec.Struct, frozen=True):
    """The arguments of EXPORT_USER."""

    user_id: str


def write_user(operation: ClaimedOperation) -> object:
    """Write the learner's ZIP file; a repeated attempt replaces the file."""
    learner = parse_arguments(operation, UserArguments).user_id

    def write(connection: Connection, output: Output) -> Written:
        return export_user.write(connection, learner, output, operation.report_progress)

    with connection_for(operation) as connection:
        export_user.catch_up(connection, learner, operation.publisher, operation.wait)
        return _write_file(operation, connection, "progress", "zip", write)


def write_statistics(operation: ClaimedOperation) -> object:
    """Write the table's file; a repeated attempt replaces the file."""
    request = parse_arguments(operation, export_files.StatisticsArguments)

    def write(connection: Connection, output: Output) -> Written:
        return export_statistics.write(connection, request, output, operation.report_progress)

    with connection_for(operation) as connection:
        schema.set_search_path(connection)
        name, suffix = request.table.lower(), request.format.lower()
        return _write_file(operation, connection, name, suffix, write)


def _write_file(
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
