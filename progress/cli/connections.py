"""The database, Redis and Pub/Sub that commands use.

If the settings do not name them, commands use those of the local stack. The stack's modules are
imported at first use, because some of them need development packages, which images lack.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import typer

from progress import settings
from progress.adapters import startup
from progress.adapters.postgres import logins, table_locks
from progress.adapters.postgres.database import Connection, run
from progress.adapters.postgres.roles import Login
from progress.adapters.postgres.url import parse_url
from progress.adapters.pubsub.undelivered import Undelivered
from progress.adapters.storage.storage import Storage
from progress.archive import erasure_ledger, manifests
from progress.errors import PubSubUnavailable, SettingsError, StackError
from progress.settings import LOCAL_PROJECT, Settings

if TYPE_CHECKING:
    from progress.local.data_folder import DataFolder


def data_folder() -> "DataFolder":
    """Return the data folder that `PROGRESS_DATA_DIR` names."""
    from progress.local import data_folder

    return data_folder.at(settings.current().progress_data_dir)


def database() -> Settings | str:
    """Return the settings if they name a database, else the URL of the stack's database."""
    return _database_settings() or _stack()["database_url"]


def _database_settings() -> Settings | None:
    current = settings.current()
    return current if current.database_url or current.instance_connection_name else None


def _stack() -> dict[str, str]:
    from progress.local import stack

    try:
        addresses = stack.running(data_folder()).addresses
    except StackError as error:
        raise SettingsError(f"{error}, or set DATABASE_URL") from None
    if "database_url" not in addresses:
        raise SettingsError("`progress serve` runs here: set DATABASE_URL to the same database")
    return addresses


def is_stack_running() -> bool:
    """Return whether commands use the local stack and this stack is running."""
    if _database_settings():
        return False
    try:
        return bool(_stack())
    except SettingsError:
        return False


def redis() -> str:
    """Return the URL of Redis; raise SettingsError if the settings name a database but no Redis."""
    if url := settings.current().redis_url:
        return url
    if _database_settings():
        raise SettingsError("REDIS_URL is not set: the cache needs Redis")
    return _stack()["redis_url"]


def connect() -> Connection:
    """Connect to the database as its owner."""
    return startup.connect(database(), name="progress-cli")


def open_connection() -> contextlib.AbstractContextManager[Connection]:
    """Connect to the database as its owner for the length of a `with` block."""
    return contextlib.closing(connect())


@contextlib.contextmanager
def open_to_read() -> Iterator[Connection]:
    """Connect as the owner for a command that only reads.

    If a lock on a table stops the command for 5 s, raise ProgressError: it says who blocks whom.
    """
    with open_connection() as connection, table_locks.limit_waits(connection):
        yield connection


def archive() -> Storage:
    """Open the archive that the settings name, or else the local stack's archive."""
    return manifests.open_archive(settings.current())


def erased_digests() -> set[str]:
    return erasure_ledger.read_digests(archive())


def use_stack() -> None:
    """If the settings name no database, let workers in this process use the local stack.

    Where `progress serve` has run, without a project of Google Cloud, they publish nothing. It does
    not run during a `progress load`.
    """
    if not _database_settings():
        addresses = _stack()
        settings.fill_in(
            DATABASE_URL=addresses["database_url"],
            REDIS_URL=addresses["redis_url"],
            PUBSUB_PROJECT_ID=addresses["project_id"],
            PUBSUB_EMULATOR_HOST=addresses["pubsub_emulator_host"],
        )
    elif settings.current().pubsub_project_id == LOCAL_PROJECT and is_server():
        settings.fill_in(PUBLISH_EVENTS="off")
    settings.current.cache_clear()


def _use_transport() -> None:
    """Let this process publish commands to the system that runs on the data folder, if any.

    If the settings name a database, it may be another one than that of a local stack.
    """
    from progress.local import stack

    if _database_settings() and not is_server():
        return
    with contextlib.suppress(StackError):
        state = stack.running(data_folder())
        settings.fill_in(SERVE_COMMANDS_URL=state.addresses["commands_url"], SERVE_KEY=state.key)
        settings.current.cache_clear()


def pubsub() -> tuple[str, str | None]:
    """Return the project, and the emulator's address or None for Google Cloud.

    If the settings name neither, return those of the local stack, or raise StackError without one.
    """
    current = settings.current()
    if current.pubsub_emulator_host or current.pubsub_project_id != LOCAL_PROJECT:
        return current.pubsub_project_id, current.pubsub_emulator_host
    from progress.local import stack

    try:
        addresses = stack.running(data_folder()).addresses
    except StackError as error:
        raise StackError(f"{error}, or set PUBSUB_PROJECT_ID") from None
    if "project_id" not in addresses:
        raise StackError("`progress serve` runs without Pub/Sub: post events to /events")
    return addresses["project_id"], addresses["pubsub_emulator_host"]


def count_undelivered() -> list[Undelivered] | str:
    """Return each subscription's number of undelivered messages, or why it is unknown."""
    from progress.adapters.pubsub import undelivered

    current = settings.current()
    emulator = current.pubsub_emulator_host
    try:
        is_local = current.pubsub_project_id == LOCAL_PROJECT and data_folder().state()
        if not _database_settings() or is_server() or is_local:
            with open_connection() as connection:
                rows = run(connection, "transport/queue", "undelivered")
            return [Undelivered(*row) for row in rows]
        # Without a project, skip the call, because its search for credentials would take seconds.
        if emulator or current.pubsub_project_id != LOCAL_PROJECT:
            return undelivered.count(current.pubsub_project_id, emulator)
    except (PubSubUnavailable, SettingsError) as error:
        return str(error)
    return "the undelivered messages are unknown: PUBSUB_PROJECT_ID is not set"


def is_server() -> bool:
    """Return whether `progress serve` has run on the data folder."""
    state = data_folder().state()
    return state is not None and "database_url" not in state.addresses


def all_logins() -> list[Login]:
    """Return the logins of DATABASE_LOGINS, and those of `progress serve` if it has run here."""
    current = settings.current()
    own: list[Login] = []
    if is_server() and current.database_url:
        name = parse_url(current.database_url).database
        own = logins.of_system(name, dumps=bool(current.dump_to))
    return [*logins.parse(current.database_logins or ""), *own]


def call_workers(operation_ids: Sequence[UUID], shards: Iterable[int] = ()) -> None:
    """Publish a command for each operation, and a wake-up for each shard.

    If a system runs on the data folder, its transport takes them. Without it and without a
    Pub/Sub, publish nothing, and if Pub/Sub does not accept the commands, only print a
    warning: the scheduled job publishes these commands.
    """
    from progress.adapters.pubsub import wakeups

    _use_transport()
    try:
        is_carried = settings.current().serve_commands_url is not None
        target = (LOCAL_PROJECT, None) if is_carried else pubsub()
        wakeups.publish(operation_ids, shards, *target)
    except StackError:
        return
    except PubSubUnavailable as error:
        typer.echo(f"the scheduled job calls a worker later: {error}", err=True)
