"""Access to the second schema of a rebuild from the archive: record the rebuild, load rows."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from progress import settings
from progress.adapters import startup
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import RebuildEnded
from progress.projections import definitions, replacement, schema

_FILE = "recovery/archive_rebuild"
_NO_TABLE = "42P01"  # this SQLSTATE means that the second schema is gone


class Rebuild(msgspec.Struct, frozen=True):
    """A rebuild, identified by the version of its rows.

    `buckets` is the number of buckets over which the archive distributes the learners.
    `poisoned` are the positions of poisoned events.
    """

    version: int
    buckets: int
    poisoned: list[int]


@contextlib.contextmanager
def connect(url: str | None) -> Iterator[Connection]:
    """Open a connection that uses the second schema; close it at the end of the `with` block.

    If `url` is None, the settings name the database. Raise RebuildEnded if the second schema does
    not exist any more.
    """
    target = url or settings.current()
    with (
        contextlib.closing(startup.connect(target, name="progress-rebuild")) as connection,
        database.translate_errors(_translate),
    ):
        schema.set_search_path(connection, replacement.building_name())
        database.run(connection, "projections/rebuild", "tune")
        yield connection


def begin(connection: Connection, buckets: int, upto: int) -> Rebuild:
    """Record the rebuild in the caller's transaction; loaders see the record after the commit."""
    _rows(connection, "act as owner")
    database.run(connection, _FILE, "tables")
    connection.run(_fill_in("allow loading"))
    return Rebuild(*_rows(connection, "begin", buckets=buckets, upto=upto)[0])


def end(connection: Connection) -> None:
    """Drop the record of the rebuild, and revoke the loaders' privileges.

    From then on, nobody loads rows.
    """
    connection.run(_fill_in("end"))


def open_bucket(connection: Connection, bucket: int, version: int) -> Rebuild | None:
    """Return the rebuild with this version; None if the bucket is loaded already.

    Raise RebuildEnded if no rebuild has this version any more.
    """
    rows = _rows(connection, "open bucket", bucket=bucket, version=version)
    if not rows:
        raise RebuildEnded(f"the rebuild with version {version} has ended")
    *values, is_loaded = rows[0]
    return None if is_loaded else Rebuild(*values)


def load_bucket(
    connection: Connection, bucket: int, version: int, events: int, tables: Mapping[str, Path]
) -> bool:
    """Load the tables' CSV files in one transaction; return False if the bucket was loaded before.

    At most eight of these transactions run at the same time; further ones wait.
    """
    with database.transaction(connection):
        if not _rows(connection, "take slot"):
            _rows(connection, "wait for slot", bucket=bucket)
        values = {"bucket": bucket, "events": events, "version": version}
        if not _rows(connection, "record bucket", **values):
            return False
        load_tables(connection, tables)
    return True


def load_tables(connection: Connection, tables: Mapping[str, Path]) -> None:
    """Load the tables' CSV files in the caller's transaction."""
    for table, path in tables.items():
        statement = statements.fill("recovery/archive_rebuild", "copy", table=table)
        with path.open("rb") as rows:
            connection.run(statement, stream=rows)


def count_loaded(connection: Connection) -> int:
    """Return the number of events in the loaded buckets."""
    count: int = _rows(connection, "count loaded")[0][0]
    return count


def _fill_in(block: str) -> str:
    """Fill in the second schema's name (`{schema}`) and the tables that are loaded (`{tables}`)."""
    tables, name = ", ".join(definitions.LEARNERS), replacement.building_name()
    return statements.fill("recovery/archive_rebuild", block, tables=tables, schema=name)


def _rows(connection: Connection, block: str, **values: object) -> list[list[Any]]:
    with database.translate_errors(_translate):
        return database.run(connection, _FILE, block, **values)


def _translate(failure: Failure) -> Exception | None:
    if failure.sqlstate == _NO_TABLE:
        return RebuildEnded("the rebuild from the archive has ended")
    return failure.to_unavailable()
