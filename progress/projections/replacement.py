"""The second schema of a rebuild, and the transaction that swaps it in.

Events keep arriving while the schema is filled. Readers see the old rows until the swap and then
the new rows.
"""

import contextlib
import math
from collections.abc import Iterator
from enum import StrEnum

from pg8000.native import identifier

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connect, Connection
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, ProjectionError, RebuildRunning
from progress.projections import schema as read_model_schema
from progress.projections import snapshots, views
from progress.projections.projector import Projector

_FILE = "projections/rebuild"
_DROP_TRIES = 60


class Holder(StrEnum):
    """What can hold the lock of rebuilds, as an operator reads it."""

    REBUILD = "a rebuild"
    ARCHIVE_REBUILD = "a rebuild from the archive"
    ERASURE = "an erasure"
    PRUNE = "`progress prune-schemas`"


@contextlib.contextmanager
def open_replacement(
    connect: Connect, holder: Holder = Holder.REBUILD, limit_s: float | None = None
) -> Iterator[Connection]:
    """Create the second schema, for `swap`. After the block, drop it if it was not swapped in.

    Raise RebuildRunning as `hold_lock` does.
    """
    with contextlib.closing(connect()) as connection, hold_lock(connection, holder, limit_s):
        try:
            for left in (building_name(), former_name()):  # left by a rebuild that was killed
                drop(connection, left)
            # The marks of a schema that version 0.3 dropped are still there.
            database.run(connection, _FILE, "drop_orphaned_marks")
            read_model_schema.create(connection, building_name())
            database.run(connection, _FILE, "stop_at_log_end")
            yield connection
        finally:
            connection.run("SET statement_timeout = 0")  # a step of an operation may have set it
            drop(connection, building_name())


@contextlib.contextmanager
def hold_lock(
    connection: Connection, holder: Holder = Holder.REBUILD, limit_s: float | None = None
) -> Iterator[None]:
    """Hold the lock of rebuilds during the block, for at most `limit_s` if the holder has a limit.

    If another session holds the lock, raise RebuildRunning, which says what runs and since when.
    """
    seconds = None if limit_s is None else math.ceil(limit_s)
    row = database.run(connection, _FILE, "lock", holder=holder, limit_s=seconds)[0]
    is_taken, since, until = row[:3]
    if not is_taken:
        raise RebuildRunning(f"{_describe_holder(connection)}: wait until it ends")
    try:
        yield
    finally:
        database.run(connection, _FILE, "unlock", holder=holder, since=since, until=until)


def _describe_holder(connection: Connection) -> str:
    """Return what holds the lock of rebuilds, since when, and how long it may take."""
    rows = database.run(connection, _FILE, "holder", holders=list(Holder))
    if not rows:  # the lock was released a moment ago, or older code holds it
        return "a rebuild or an erasure is running"
    holder, since, until = rows[0]
    limit = f"will end by {until:%H:%M:%S} UTC" if until else "has no time limit"
    return f"{holder} has been running since {since:%Y-%m-%d %H:%M:%S} UTC and {limit}"


def swap(connection: Connection) -> int:
    """Fold the newest events into the second schema and swap it in; return the number of events."""
    live, building = read_model_schema.schema_name(), building_name()
    projector = Projector(connection, building)
    with database.transaction(connection):
        database.run(connection, _FILE, "mark_past")
        database.run(connection, _FILE, "continue")
    folded = projector.catch_up_all()
    with database.transaction(connection):
        database.run(connection, _FILE, "lock_all", schema=live)
        folded += projector.catch_up_all()
        database.run(connection, _FILE, "refold_replayed")
        database.run(connection, _FILE, "record_definition")
        database.run(connection, _FILE, "mark_milestones")
        database.run(connection, _FILE, "mark_swap")
        former = former_name()
        if read_model_schema.exists(connection, live):
            read_model_schema.rename(connection, live, former)
        read_model_schema.rename(connection, building, live)
        read_model_schema.register(connection, live)
        views.follow(connection, former, None)
    # Wake-ups did nothing while the swap held the locks. Fold the events that they announced.
    folded += Projector(connection).catch_up_all()
    try:
        drop(connection, former)
    except DatabaseUnavailable as error:  # a reader such as pg_dump still uses it
        logs.write("WARNING", f"{error}: the next rebuild or `progress prune-schemas` drops it")
    _drop_orphans(connection)
    return folded


def building_name() -> str:
    """Return the name of the second schema."""
    return f"{read_model_schema.schema_name()}_building"


def former_name() -> str:
    """Return the name of a schema that was swapped out and is not dropped yet."""
    return f"{read_model_schema.schema_name()}_retired"


def drop(connection: Connection, schema: str, tries: int | None = None) -> None:
    """Drop a schema that may have readers: try once a second, by default for a minute.

    Each try first moves the views of analysts off the schema, because the drop would drop them too.

    A schema that is rebuilt from the archive has a record of this rebuild. Each try first deletes
    this record, so that the rebuild's workers start no new load. Raise DatabaseUnavailable if
    readers or workers still use the schema after these tries.
    """
    connection.run("SET lock_timeout = '1s'")
    try:
        _try_drop(connection, schema, tries or _DROP_TRIES)
    finally:
        connection.run("SET lock_timeout = 0")


def drop_unused(connection: Connection) -> Iterator[str]:
    """Drop the schemas of other revisions and of killed rebuilds; yield the name of each schema.

    Keep those that a query function has read within an hour. Raise RebuildRunning while the lock of
    rebuilds is held. Raise ProjectionError if this code's own schema does not exist, because then
    other code may be serving.
    """
    own = read_model_schema.schema_name()
    with hold_lock(connection, Holder.PRUNE):
        if not read_model_schema.exists(connection, own):
            raise ProjectionError(
                f"{own} does not exist, so other code may be serving: nothing is dropped; "
                "run `progress migrate` first"
            )
        for (schema,) in database.run(connection, _FILE, "unused_schemas", kept=own):
            drop(connection, schema)
            yield schema
        _drop_orphans(connection)


def drop_former(connection: Connection, days: int) -> None:
    """Drop the live schemas of other revisions that nobody has read for so many days.

    The next call drops a schema that is locked for longer than a second, or now being rebuilt.
    """
    own = read_model_schema.schema_name()
    former = database.run(connection, _FILE, "former_schemas", kept=own, days=days)
    try:
        for (schema,) in former:
            with hold_lock(connection, Holder.PRUNE):
                drop(connection, schema, tries=1)
                _drop_orphans(connection)
            logs.write("INFO", f"dropped {schema}: nobody has read it for {days} days")
    except (RebuildRunning, DatabaseUnavailable) as error:
        logs.write("WARNING", f"{schema} is not dropped yet: {error}")


def _drop_orphans(connection: Connection) -> None:
    """Drop the snapshots and the marks of poisoned events that no schema has any more."""
    snapshots.drop_orphans(connection)
    database.run(connection, _FILE, "drop_orphaned_marks")


def _try_drop(connection: Connection, schema: str, tries: int) -> None:
    for tries_left in reversed(range(tries)):
        try:
            with database.translate_errors(
                lambda failure: DatabaseUnavailable(failure.message) if failure.is_blocked else None
            ):
                if not views.follow(connection, schema):
                    raise DatabaseUnavailable(f"views read {schema}")
                # Empty its table `archive_rebuild`, so that its workers start no new load.
                connection.run(statements.fill(_FILE, "end_loading", schema=identifier(schema)))
                read_model_schema.drop(connection, schema)
            return
        except DatabaseUnavailable as error:
            if not tries_left:
                raise DatabaseUnavailable(
                    f"{schema} is still being read or loaded"
                ) from error.__cause__
