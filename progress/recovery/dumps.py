"""Dumps of the log: the rows of the event store and of the operations, in one snapshot.

A database without backups of its own, such as Neon, gets a dump every day. Cloud SQL makes its own
backups. Dumps are ordered by their numbers: a clock may be wrong, and after a restore to an earlier
state, an abandoned dump has the higher position.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec

from progress import __version__
from progress.adapters.postgres import database, migrations, roles
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage, encode_json
from progress.archive.catalogue import Progress
from progress.errors import ProgressError
from progress.recovery import ledger_erasures, table_files
from progress.recovery.table_files import Table

NAME = "manifest.json"
LATE = timedelta(hours=30)  # a dump is due after 20 hours, and the schedule's run comes later

_FILE = "recovery/dumps"
_CLAIM = "number"
_INTERVAL = timedelta(hours=20)  # one dump a day: the schedules run every hour or every six
_NEWEST, _MONTHS = 7, 12
_UNKNOWN = 2**63  # the number of a dump whose manifest is invalid: it may be the newest


class Sequence(msgspec.Struct, frozen=True):
    """A sequence and the last number that it returned."""

    name: str
    number: int


class DumpManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a dump; `migration` is the last migration of the database.

    `number` is one more than the highest number in the folder. Dumps of the versions 0.2 and 0.3
    have none, and come before all others, in the order of their `head`.
    """

    taken_at: datetime
    number: int = 0
    version: str = "0.3 or before"
    migration: str
    head: int  # The log's last position.
    tables: list[Table]
    sequences: list[Sequence]


def find_newest(storage: Storage) -> tuple[str, DumpManifest] | None:
    """Return the name and the manifest of the newest dump; None if there is no dump.

    Raise ProgressError if a manifest is invalid, because its dump may be the newest.
    """
    dumps = [(name, read(storage, name)) for name in _find_complete(storage)]
    return max(dumps, key=_order, default=None)


def find_whole(storage: Storage) -> tuple[str | None, dict[str, str]]:
    """Return the newest dump whose files are complete, and what each newer one lacks, by name.

    The newest of these comes first. A dump that is being written has no manifest yet.
    """
    found: dict[tuple[tuple[int, int], str], str] = {}
    for name in {*_find_complete(storage), *filter(str.isdecimal, storage.folders())}:
        try:
            dump = read(storage, name)
            found[_order((name, dump))] = find_lack(storage, name, dump)
        except ProgressError as error:
            number = int(name) if name.isdecimal() else _UNKNOWN
            found[(number, 0), name] = str(error)
    newest = max((key for key, lack in found.items() if not lack), default=None)
    newer = {
        key[1]: found[key] for key in sorted(found, reverse=True) if not newest or key > newest
    }
    return newest and newest[1], newer


def find_lack(storage: Storage, name: str, dump: DumpManifest) -> str:
    """Return which file of a dump is missing or has another length; '' if none."""
    sizes = {file.path: file.bytes for file in storage.list_tree(name)}
    for path, size in ((f"{name}/{table.name}.gz", table.bytes) for table in dump.tables):
        if path not in sizes:
            return f"{path} cannot be restored (the file is missing)"
        if sizes[path] != size:
            return f"{path} cannot be restored (it has {sizes[path]:,} bytes, not {size:,})"
    return ""


def _order(dump: tuple[str, DumpManifest]) -> tuple[tuple[int, int], str]:
    """Return what is higher for each newer dump."""
    return (dump[1].number, dump[1].head), dump[0]


def _find_complete(storage: Storage) -> list[str]:
    """Return the folders that have a manifest, but no backups of read models, as 0.3 made them."""
    names = [name for name in storage.folders() if "-" not in name]
    return [name for name in names if storage.has(f"{name}/{NAME}")]


def is_due(storage: Storage, now: datetime) -> bool:
    """Return whether the newest dump is 20 hours old, or was made while the clock was ahead."""
    newest = max(_list_readable(storage), key=_order, default=None)
    return newest is None or not now - _INTERVAL < newest[1].taken_at <= now


def _list_readable(storage: Storage) -> Iterator[tuple[str, DumpManifest]]:
    """Yield the valid manifests: a damaged dump stops no other one."""
    for name in _find_complete(storage):
        with contextlib.suppress(ProgressError):
            yield name, read(storage, name)


def remove_old(storage: Storage) -> list[str]:
    """Remove all dumps but the newest seven, and the first of each of the last twelve months.

    Return their names. The months are those of the dumps, because a clock may be wrong. Remove
    also the unfinished dumps that are older than the newest seven.
    """
    newest = sorted(_list_readable(storage), key=_order, reverse=True)
    firsts = {(dump.taken_at.year, dump.taken_at.month): name for name, dump in newest}
    kept = {name for name, _ in newest[:_NEWEST]} | {*list(firsts.values())[:_MONTHS]}
    old = [name for name, _ in newest if name not in kept]
    if newest[_NEWEST - 1 :]:
        oldest = newest[_NEWEST - 1][1].number
        names = [name for name in storage.folders() if name.isdecimal() and int(name) < oldest]
        old += [name for name in names if not storage.has(f"{name}/{NAME}")]
    for name in old:
        storage.purge(f"{name}/{NAME}")  # first: the rest is then no dump
        storage.remove(name)
    return old


def copy_newest(storage: Storage, copy: Storage) -> str:
    """Copy the newest dump to another place; return its name, '' if there is nothing to copy.

    There, files are created and listed, and neither read, replaced nor removed.
    Raise ProgressError if another dump has the name.
    """
    name, dump = max(_list_readable(storage), key=_order, default=("", None))
    paths = _list_uncopied(copy, name, dump) if dump else []
    for path in paths:  # the manifest last
        with copy.writing(path) as output:
            for part in storage.reading(path):
                output.write(part)
    return name if paths else ""


def find_copied(storage: Storage, copy: Storage) -> datetime | None:
    """Return when the newest dump that the other place has, too, was taken."""
    ordered = sorted(_list_readable(storage), key=_order, reverse=True)
    copied = (dump.taken_at for name, dump in ordered if not _list_uncopied(copy, name, dump))
    return next(copied, None)


def _list_uncopied(copy: Storage, name: str, dump: DumpManifest) -> list[str]:
    there = {file.path: file.bytes for file in copy.list_tree(name)}
    sizes = {f"{name}/{table.name}.gz": table.bytes for table in dump.tables}
    for path, size in sizes.items():
        if there.get(path, size) != size:
            raise ProgressError(f"{path} is there of another dump: name an empty prefix")
    return [path for path in (*sizes, f"{name}/{NAME}") if path not in there]


def run(
    connection: Connection, storage: Storage, on_progress: Progress
) -> tuple[str, DumpManifest]:
    """Write a dump into a new folder of the storage; return the folder's name and the manifest.

    The folder's name is the dump's number. The manifest is written last, and a folder without a
    manifest is not a dump. The roles that may read all rows are the owner and `progress_backup`.
    """
    number = _take_number(storage)
    name = _name(number)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(storage.remove, name)
        taken_at = datetime.now(UTC)
        database.run(connection, _FILE, "begin")
        head = read_head(connection)
        tables = [row[:3] for row in database.run(connection, _FILE, "tables")]
        dump = DumpManifest(
            taken_at=taken_at,
            number=number,
            version=__version__,
            migration=database.run(connection, "adapters/migrations", "last applied")[0][0],
            head=head,
            tables=table_files.write_tables(connection, storage, name, tables, on_progress),
            sequences=[Sequence(*row) for row in database.run(connection, _FILE, "sequences")],
        )
        connection.run("COMMIT")
        storage.write(f"{name}/{NAME}", encode_json(dump))
        on_failure.pop_all()
    return name, dump


def read_head(connection: Connection) -> int:
    """Return the log's last position."""
    head: int = database.run(connection, _FILE, "head")[0][0]
    return head


def _take_number(storage: Storage) -> int:
    """Return a number that no other dump has: create an object that must not exist yet."""
    numbers = [dump.number for _, dump in _list_readable(storage)]
    numbers += [int(name) for name in storage.folders() if name.isdecimal()]
    number = max(numbers, default=0) + 1
    while True:
        claim = f"{_name(number)}/{_CLAIM}"
        try:
            storage.replace(claim, uuid4().bytes, None)
        except ProgressError:
            if not storage.has(claim):
                raise
            number += 1  # another dump was faster
        else:
            return number


def _name(number: int) -> str:
    return f"{number:06}"


def load(
    connection: Connection,
    storage: Storage,
    archive: Storage,
    on_progress: Progress,
    name: str | None = None,
) -> tuple[str, DumpManifest]:
    """Fill an empty database from a dump of this version or an earlier one, by default the newest.

    Return the dump's name and manifest. Read models are dropped. The learners in the archive's
    ledger of erasures are forbidden, and no fold counts them; `ledger_erasures.apply` erases them.

    The connection's role must own the log. Raise ProgressError if there is no such dump, if it is
    damaged, if a later version made it, if the database has rows, or if `progress serve` runs on
    it. After an error, the database is unchanged.
    """
    newest = find_newest(storage) if name is None else (name, read(storage, name))
    if newest is None:
        raise ProgressError("there is no dump: name the folder that `progress dump` wrote to")
    name, dump = newest
    known = {file.name for file in migrations.FOLDER.glob("[0-9]*.sql")}
    if dump.migration not in known:
        raise ProgressError(
            f"a later version ({dump.version}) made the dump {name}: its last migration, "
            f"{dump.migration}, is unknown; install that version"
        )
    if lack := find_lack(storage, name, dump):
        raise ProgressError(f"{lack}: use another dump")
    with _exclude_serve(connection), migrations.exclusive(connection):
        roles.apply(connection)  # the migrations may need what only a superuser gives
        with database.transaction(connection):
            _empty(connection)
            migrations.begin(connection, dump.migration)
            _load_rows(connection, storage, name, dump, on_progress)
            migrations.complete(connection)
            ledger_erasures.record(connection, archive)
            ledger_erasures.forbid(connection)
        migrations.apply(connection)  # the roles, whose transaction is another one
        database.run(connection, "archive/restore", "analyze")
    return name, dump


@contextlib.contextmanager
def _exclude_serve(connection: Connection) -> Iterator[None]:
    """Hold the lock of `progress serve`, so that it neither runs nor starts during the block."""
    if not database.run(connection, _FILE, "lock serve")[0][0]:
        raise ProgressError("`progress serve` runs on this database: stop it first")
    with database.release_after(connection, _FILE, "lock serve"):
        yield


def _empty(connection: Connection) -> None:
    """Drop all that `migrate` creates, unless a table has rows of anybody's."""
    database.run(connection, _FILE, "hold appends")
    for lock, find in database.run(connection, _FILE, "find rows"):
        connection.run(lock)
        if filled := [table for (table,) in connection.run(find)]:
            raise ProgressError(
                f"the database is not empty: {', '.join(filled)} "
                f"{'have' if filled[1:] else 'has'} rows; load a dump into an empty database"
            )
    for (statement,) in database.run(connection, _FILE, "drop"):
        connection.run(statement)


def _load_rows(
    connection: Connection,
    storage: Storage,
    name: str,
    dump: DumpManifest,
    on_progress: Progress,
) -> None:
    done, total = 0, sum(table.rows for table in dump.tables)
    files = {table.name: table for table in dump.tables}
    for table, _, _, copy_in, empty in database.run(connection, _FILE, "tables"):
        if table not in files:
            raise ProgressError(f"{name} has no table {table}: use another dump")
        connection.run(empty)
        data = storage.reading(f"{name}/{table}.gz")
        table_files.load_table(connection, data, files[table], copy_in)
        done += files[table].rows
        on_progress(done, total)
    for sequence in dump.sequences:
        values = {"name": sequence.name, "number": sequence.number}
        database.run(connection, _FILE, "set sequence", **values)


def read(storage: Storage, name: str) -> DumpManifest:
    """Return the manifest of a dump; raise ProgressError if there is none, or if it is invalid."""
    content = storage.read(f"{name}/{NAME}")
    if content is None:
        raise ProgressError(f"{name}/{NAME} is missing: there is no dump {name}")
    try:
        return msgspec.json.decode(content.data, type=DumpManifest)
    except msgspec.DecodeError as error:
        raise ProgressError(
            f"{name}/{NAME} is invalid: {error}; remove the folder, or name another dump"
        ) from None
