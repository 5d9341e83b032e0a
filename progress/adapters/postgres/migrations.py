"""Plain SQL files of `sql/migrations`, applied once each, in the order of their names."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import SQL, blocks
from progress.errors import ProgressError, Unavailable

FOLDER = SQL / "migrations"


def apply(connection: Connection, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing; its names.

    Two that start at once take turns. ProgressError where a file was changed after it was
    applied, and where the database knows a migration that the code does not.
    """
    sql = blocks("adapters/migrations")
    with turn(connection):
        if connection.run(sql["is there"]) == [[False]]:
            connection.run(sql["table"])
        missing = _missing(folder, dict(connection.run(sql["applied"]) or []))
        for file in missing:
            _apply_one(connection, file)
    return [file.name for file in missing]


@contextlib.contextmanager
def turn(connection: Connection) -> Iterator[None]:
    """For as long as the block lasts nobody else migrates; what goes with it may be done in it."""
    connection.run(blocks("adapters/migrations")["lock"])
    try:
        yield
    finally:
        connection.run(blocks("adapters/migrations")["unlock"])


@contextlib.contextmanager
def refused_once(connection: Connection, execution: str | None) -> Iterator[None]:
    """Let Cloud Run repeat a job that lost the database, and not one that was refused.

    A refusal is kept under the job's execution; the next attempt of that execution raises it
    before anything is done. Outside a job nothing is kept.
    """
    if execution is None:
        yield
        return
    sql = blocks("adapters/migrations")
    connection.run(sql["refusals"])
    for (reason,) in connection.run(sql["refusal"], execution=execution) or []:
        raise ProgressError(f"not tried again: {reason}")
    try:
        yield
    except (ProgressError, pg8000.exceptions.DatabaseError) as error:
        if _is_refusal(error):
            with contextlib.suppress(OSError, pg8000.exceptions.Error):
                reason = database.message(error)
                connection.run(sql["record refusal"], execution=execution, reason=reason)
        raise


def _is_refusal(error: Exception) -> bool:
    passing = any(database.is_passing(each) for each in (error, error.__cause__) if each)
    return not isinstance(error, Unavailable) and not passing


def _missing(folder: Path, applied: dict[str, str]) -> list[Path]:
    files = sorted(folder.glob("[0-9]*.sql"))
    unknown = applied.keys() - {file.name for file in files}
    if unknown:
        raise ProgressError(
            f"the database is newer than this code: it has {max(unknown)}; deploy newer code"
        )
    for file in files:
        if applied.get(file.name, _checksum(file)) != _checksum(file):
            raise ProgressError(
                f"{file.name} was changed after it was applied; put it back and add a new file"
            )
    missing = [file for file in files if file.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise ProgressError(f"{missing[0].name} comes before {max(applied)}, which is applied")
    return missing


def _apply_one(connection: Connection, file: Path) -> None:
    try:
        with database.transaction(connection):
            # No values: the file goes through the simple protocol, which takes many statements.
            connection.execute_simple(file.read_text(encoding="utf-8"))
            connection.run(
                blocks("adapters/migrations")["record"], name=file.name, checksum=_checksum(file)
            )
    except pg8000.exceptions.DatabaseError as fault:
        raise ProgressError(f"{file.name}: {database.message(fault)}") from fault


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
