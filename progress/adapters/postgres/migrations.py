"""Apply the migrations and the SQL functions.

Each file in `sql/migrations` is applied once, in the order of the names. The function files
`sql/*/functions/*.sql` contain CREATE OR REPLACE. A function file is applied again when it changes;
after a migration, on a new major version of PostgreSQL, or if a function is not as it was applied,
all function files are applied again. In a release, `migrate` runs while the previous version still
serves, so the previous version's calls must keep working with the new functions.

A dump of an earlier version loads into the tables of its own last migration, before the later ones
are applied (`begin`). A migration therefore finds no functions but its own.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from progress.adapters.postgres import database, roles
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.postgres.roles import Login
from progress.adapters.postgres.statements import fill
from progress.errors import ProgressError, Unavailable
from progress.files import SQL

FOLDER = SQL / "migrations"

_FILE = "adapters/migrations"
_FORMER = "0001_roles.sql"  # the first migration of the versions before 0.1.0
# Migrations that once had another text, by its checksum; sql/earlier has the differences.
_EARLIER = {
    "0001_event_store.sql": "ab5136251ea0ccda014673e50634c1270689c27b359aed75366b8a8e690e3ff5",
    "0022_list_events.sql": "428b51143ae2b6a7bfa51d2bcb1c734ab6ba3347fe72708c5c6aab71d24fc24f",
}
_INDEXED = "0021_letter_owners.sql"  # until this migration, indexes call functions
# Each of these migrations only creates this index of the log, if it is not there.
_LOG_INDEXES = {
    "0022_list_events.sql": "event_store.list_events",
    "0026_events_by_day.sql": "event_store.events_by_day",
    "0027_rest_day_events.sql": "event_store.rest_day_events",
    "0028_assignment_events.sql": "event_store.assignment_events",
}


def apply(connection: Connection, folder: Path = FOLDER, logins: Sequence[Login] = ()) -> list[str]:
    """Apply the missing migrations and the changed functions; return their names.

    One transaction applies all changes, so that no call uses new types with old functions. The
    roles come before it, too, because a restored database may lack one that a migration names, and
    the indexes of a log, because events are appended while an index is built concurrently. If
    several processes call this function at the same time, they take turns. Raise ProgressError if a
    migration was changed after it was applied, if the database has a migration that this code does
    not know, such as those of the versions before 0.1.0, or if a superuser must act first, for the
    `logins`, too.
    """
    with exclusive(connection):
        if database.run(connection, _FILE, "may migrate") == [[False]]:
            roles.apply(connection, logins)
        if database.run(connection, _FILE, "has tables") == [[False]]:
            _create_tables(connection)
        if missing := find_missing(connection, folder):
            roles.apply(connection, logins)
            _build_indexes(connection, missing)
        with database.transaction(connection):
            applied = complete(connection, folder)
        roles.apply(connection, logins)
    return applied


def begin(connection: Connection, last: str) -> None:
    """Apply the migrations up to `last` to a database without tables, in the caller's transaction.

    The tables then take the rows that the code with this last migration dumped; `complete` follows.
    """
    _create_tables(connection)
    for file in sorted(FOLDER.glob("[0-9]*.sql")):
        if file.name <= last:
            _apply_file(connection, file, file.name, "record")
    if last < _INDEXED:
        for block in ("stand in for parser", "stand in for id"):
            database.run(connection, _FILE, block)


def complete(connection: Connection, folder: Path = FOLDER) -> list[str]:
    """Do what `apply` does, in the caller's transaction."""
    missing = _missing(folder, dict(database.run(connection, _FILE, "applied")))
    changed = _changed_functions(connection)
    for file in missing:
        _apply_file(connection, file, file.name, "record")
    for name in _functions() if missing else changed:
        _apply_file(connection, SQL / name, name, "record function")
    if missing or changed:
        roles.close_functions(connection)
        database.run(connection, _FILE, "forget routines")
        database.run(connection, _FILE, "record routines")
    return [*(file.name for file in missing), *changed]


def _create_tables(connection: Connection) -> None:
    database.run(connection, _FILE, "create table")
    database.run(connection, _FILE, "create functions table")


def _build_indexes(connection: Connection, missing: Sequence[str]) -> None:
    """Build the log's indexes that are missing or that an interrupted build has left invalid."""
    if "0001_event_store.sql" in missing:
        return  # there is no log yet
    for name in _LOG_INDEXES.keys() & missing:
        index = _LOG_INDEXES[name]
        if database.run(connection, _FILE, "is invalid", index=index):
            connection.execute_simple(fill(_FILE, "drop index", index=index))
        text = (FOLDER / name).read_text(encoding="utf-8")
        connection.execute_simple(text.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY"))


def find_missing(connection: Connection, folder: Path = FOLDER) -> list[str]:
    """Return the names of what `apply` would apply or mend; raise ProgressError where it would."""
    if database.run(connection, _FILE, "has tables") == [[False]]:
        return [file.name for file in _missing(folder, {})]
    missing = _missing(folder, dict(database.run(connection, _FILE, "applied")))
    changed = _changed_routines(connection) or _changed_functions(connection)
    return [*(file.name for file in missing), *changed]


def _changed_routines(connection: Connection) -> list[str]:
    """Return the names of the functions that are not as the files have made them."""
    return [name for (name,) in database.run(connection, _FILE, "changed routines")]


def _changed_functions(connection: Connection) -> list[str]:
    """Return the function files to apply: those that changed, or all to mend a function."""
    if _changed_routines(connection):
        return _functions()
    known = dict(database.run(connection, _FILE, "applied functions"))
    return [name for name in _functions() if known.get(name) != _checksum(SQL / name)]


def _functions() -> list[str]:
    return sorted(str(file.relative_to(SQL)) for file in SQL.glob("*/functions/*.sql"))


@contextlib.contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """Hold the migration lock during the block, so that no other process migrates."""
    database.run(connection, _FILE, "lock")
    with database.release_after(connection, _FILE, "lock"):
        yield


@contextlib.contextmanager
def keep_refusal(connection: Connection, execution: str | None) -> Iterator[None]:
    """Raise ProgressError if an earlier attempt of this job execution failed permanently.

    Cloud Run retries a failed job. If the block fails permanently, the reason is stored with the
    name of the execution. Later attempts of this execution fail immediately with this reason. A
    transient failure, such as a lost connection, is not stored, so the next attempt runs the block.
    Outside a job, `execution` is None and nothing is stored.
    """
    if execution is None:
        yield
        return
    database.run(connection, _FILE, "create refusals")
    for (reason,) in database.run(connection, _FILE, "refusal", execution=execution):
        raise ProgressError(f"not tried again: {reason}")
    try:
        yield
    except (ProgressError, *database.ERRORS) as error:
        if _is_permanent(error):
            with contextlib.suppress(*database.ERRORS):
                values = {"execution": execution, "reason": database.read_failure(error).message}
                database.run(connection, _FILE, "record refusal", **values)
        raise


def _is_permanent(error: Exception) -> bool:
    failures = [database.read_failure(cause) for cause in (error, error.__cause__) if cause]
    if isinstance(error, Unavailable) or any(failure.is_transient for failure in failures):
        return False
    return isinstance(error, ProgressError) or failures[0].is_refusal


def _missing(folder: Path, applied: dict[str, str]) -> list[Path]:
    if _FORMER in applied:
        raise ProgressError(
            "a version before 0.1.0 created this database, which cannot be upgraded: run `progress "
            "down`, delete the data folder .progress, then load the events again"
        )
    files = sorted(folder.glob("[0-9]*.sql"))
    unknown = applied.keys() - {file.name for file in files}
    if unknown:
        raise ProgressError(
            f"the database is newer than this code: it has {max(unknown)}; deploy newer code"
        )
    earlier = [file for file in files if _EARLIER.get(file.name, "") == applied.get(file.name)]
    for file in files:
        if file not in earlier and applied.get(file.name, _checksum(file)) != _checksum(file):
            raise ProgressError(
                f"{file.name} was changed after it was applied; restore it and add a new file"
            )
    missing = [file for file in files if file.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise ProgressError(
            f"{missing[0].name} comes before {max(applied)}, which is already applied: give "
            f"{missing[0].name} a higher number"
        )
    return [*(SQL / "earlier" / file.name for file in earlier), *missing]


def _apply_file(connection: Connection, file: Path, name: str, record: str) -> None:
    def translate(failure: Failure) -> ProgressError | None:
        return ProgressError(f"{name}: {failure.message}") if failure.is_refusal else None

    with database.translate_errors(translate):
        # The simple query protocol accepts several statements, but no parameters.
        connection.execute_simple(file.read_text(encoding="utf-8"))
        checksum = _checksum(FOLDER / name if file.parent.name == "earlier" else file)
        database.run(connection, _FILE, record, name=name, checksum=checksum)


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
