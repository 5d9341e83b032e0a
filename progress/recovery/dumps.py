"""Dumps of the log: the rows of the event store and of the operations, in one snapshot.

A database without daily backups of its own, such as Neon, gets a dump every day. Cloud SQL makes
its own backups.
"""

import contextlib
from datetime import UTC, datetime, timedelta

import msgspec

from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage, encode_json
from progress.archive.manifests import Progress
from progress.errors import ProgressError
from progress.recovery import backups
from progress.recovery.backups import NAME, Table

_FILE = "recovery/dumps"
_INTERVAL = timedelta(hours=20)  # one dump a day, because the job runs every six hours


class Sequence(msgspec.Struct, frozen=True):
    """A sequence and the last number that it returned."""

    name: str
    number: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a dump; `migration` is the last migration of the code that made it."""

    taken_at: datetime
    migration: str
    head: int  # The log's last position.
    tables: list[Table]
    sequences: list[Sequence]


def is_due(storage: Storage, now: datetime) -> bool:
    """Return whether no dump was made in the last 20 hours."""
    newest = max(backups.find_complete(storage), default="")
    return newest < backups.name_folder(now - _INTERVAL)


def run(connection: Connection, storage: Storage, on_progress: Progress) -> tuple[str, Manifest]:
    """Write a dump into a new folder of the storage; return the folder's name and the manifest.

    The manifest is written last, and a folder without a manifest is not a dump.
    """
    taken_at = datetime.now(UTC)
    name = backups.name_folder(taken_at)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(storage.remove, name)
        database.run(connection, "recovery/backups", "begin")
        head = database.run(connection, _FILE, "head")[0][0]
        tables = [row[:3] for row in database.run(connection, _FILE, "tables")]
        dump = Manifest(
            taken_at=taken_at,
            migration=_last_migration(),
            head=head,
            tables=backups.write_tables(connection, storage, name, tables, on_progress),
            sequences=[Sequence(*row) for row in database.run(connection, _FILE, "sequences")],
        )
        connection.run("COMMIT")
        storage.write(f"{name}/{NAME}", encode_json(dump))
        on_failure.pop_all()
    return name, dump


def load(
    connection: Connection, storage: Storage, on_progress: Progress, name: str | None = None
) -> tuple[str, Manifest]:
    """Fill an empty, migrated database from a dump, by default from the newest one.

    Return the dump's name and manifest. The connection's role must own the log. Raise ProgressError
    if there is no such dump, if it is damaged, if another version made it, or if the log is not
    empty. After an error, the database is unchanged.
    """
    name = name or _find_newest(storage)
    dump = _read(storage, name)
    done, total = 0, sum(table.rows for table in dump.tables)
    with database.transaction(connection):
        database.run(connection, "archive/restore", "hold appends")
        if not database.run(connection, "archive/restore", "is empty")[0][0]:
            raise ProgressError("the log is not empty: load a dump into a migrated, empty database")
        database.run(connection, _FILE, "forget definitions")
        files = {table.name: table for table in dump.tables}
        for table, _, _, copy_in in database.run(connection, _FILE, "tables"):
            if table not in files:
                raise ProgressError(f"{name} has no table {table}: use another dump")
            data = storage.reading(f"{name}/{table}.gz")
            backups.load_table(connection, data, files[table], copy_in, "use another dump")
            done += files[table].rows
            on_progress(done, total)
        for sequence in dump.sequences:
            database.run(
                connection, _FILE, "set sequence", name=sequence.name, number=sequence.number
            )
    database.run(connection, "archive/restore", "analyze")
    return name, dump


def _find_newest(storage: Storage) -> str:
    complete = backups.find_complete(storage)
    if not complete:
        raise ProgressError("there is no dump: name the folder that `progress dump` wrote to")
    return max(complete)


def _read(storage: Storage, name: str) -> Manifest:
    content = storage.read(f"{name}/{NAME}")
    if content is None:
        raise ProgressError(f"there is no dump {name}")
    try:
        dump = msgspec.json.decode(content.data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ProgressError(f"{name}/{NAME} is invalid: {error}; use another dump") from None
    if dump.migration != _last_migration():
        raise ProgressError(
            f"the code that made the dump {name} ends with {dump.migration}, and this code with "
            f"{_last_migration()}: use the release that made the dump"
        )
    return dump


def _last_migration() -> str:
    return max(file.name for file in migrations.FOLDER.glob("[0-9]*.sql"))
