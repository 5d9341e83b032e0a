"""The database, Redis and Pub/Sub that commands use: of the settings, or of the local stack."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import typer

from progress import settings
from progress.adapters import startup, terminal
from progress.adapters.postgres import logins, table_locks
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.adapters.postgres.url import parse_url
from progress.adapters.pubsub.undelivered import Undelivered
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import Console, ReportProgress
from progress.archive import catalogue, erasure_ledger
from progress.errors import PubSubUnavailable, SettingsError, StackError
from progress.event_store.posting import Ingest
from progress.serve import data_folder
from progress.serve.data_folder import StackState
from progress.settings import LOCAL_PROJECT, Settings

_ON_SERVER = {
    "DATABASE_URL": "set DATABASE_URL to the same database",
    "PUBSUB_PROJECT_ID": "it has no Pub/Sub, so post events to /events",
}


class Target:
    """What a command works on: what the settings name, or else the system on the data folder."""

    def __init__(self, current: Settings) -> None:
        self.settings, self.folder = current, data_folder.at(current.progress_data_dir)
        self.has_database = bool(current.database_url or current.instance_connection_name)
        self.has_pubsub = bool(
            current.pubsub_emulator_host or current.pubsub_project_id != LOCAL_PROJECT
        )

    @property
    def state(self) -> StackState | None:
        """The last state of the system on the data folder; None if none has run."""
        return self.folder.state()

    @property
    def is_server(self) -> bool:
        return self.state is not None and "database_url" not in self.state.addresses

    @property
    def is_stack_running(self) -> bool:
        """Whether commands use the local stack and this stack is running."""
        with contextlib.suppress(SettingsError):
            return not self.has_database and bool(self.stack("DATABASE_URL"))
        return False

    def stack(self, variable: str) -> dict[str, str]:
        """Return the addresses of the local stack; raise SettingsError, which says what to set."""
        try:
            addresses = data_folder.running(self.folder).addresses
        except StackError as error:
            raise SettingsError(f"{error}, or set {variable}") from None
        if "database_url" not in addresses:
            raise SettingsError(f"`progress serve` runs here: {_ON_SERVER[variable]}")
        return addresses

    def database(self) -> Settings | str:
        """Return the settings if they name a database, else the URL of the stack's database."""
        return self.settings if self.has_database else self.stack("DATABASE_URL")["database_url"]

    def redis(self) -> str:
        """Return the URL of Redis; raise SettingsError if the settings name only a database."""
        if url := self.settings.redis_url:
            return url
        if self.has_database:
            raise SettingsError("REDIS_URL is not set: the cache needs Redis")
        return self.stack("DATABASE_URL")["redis_url"]

    def pubsub(self) -> tuple[str, str | None]:
        """Return the project, and the emulator's address or None for Google Cloud.

        Raise SettingsError if the settings name neither.
        """
        if not self.has_pubsub:
            why = "on one machine, post events to /events"
            raise SettingsError(f"PUBSUB_PROJECT_ID is not set: {why}")
        return self.settings.pubsub_project_id, self.settings.pubsub_emulator_host

    def logins(self) -> list[Login]:
        """Return the logins of DATABASE_LOGINS, and those of `progress serve` if it ran here."""
        own = list[Login]()
        if self.is_server and self.settings.database_url:
            name = parse_url(self.settings.database_url).database
            own = logins.of_system(name, dumps=bool(self.settings.dump_to))
        return [*logins.parse(self.settings.database_logins or ""), *own]


_of = functools.lru_cache(maxsize=1)(Target)


def target() -> Target:
    """Return the command's target, which is made once for the settings."""
    return _of(settings.current())


def connect() -> Connection:
    return startup.connect(target().database(), name="progress-cli")


def open_connection() -> contextlib.AbstractContextManager[Connection]:
    return contextlib.closing(connect())


@contextlib.contextmanager
def open_to_read() -> Iterator[Connection]:
    """Connect as the owner for a command that only reads.

    If a lock on a table stops the command for 5 s, raise ProgressError: it says who blocks whom.
    """
    with open_connection() as connection, table_locks.limit_waits(connection):
        yield connection


@contextlib.contextmanager
def open_behind_bar(console: Console, label: str) -> Iterator[tuple[Connection, ReportProgress]]:
    """Connect as the owner for the block, behind a progress bar that gets its total later."""
    with open_connection() as connection, terminal.progress_bar(console, label, total=0) as show:
        yield connection, show


def archive() -> Storage:
    """Open the archive that the settings name, or else the local stack's archive."""
    return catalogue.open_archive(target().settings)


def erased_digests() -> set[str]:
    return erasure_ledger.read_digests(archive())


def use_stack() -> None:
    """If the settings name no database, let workers in this process use the local stack.

    Where `progress serve` has run, and nothing left it, they publish nothing. It does not run
    during a `progress load`. Raise SettingsError if it posts events to an address that is not set.
    """
    own = target()
    if not own.has_database:
        found = own.stack("DATABASE_URL")
        settings.fill_in(DATABASE_URL=found["database_url"], REDIS_URL=found["redis_url"])
    if not own.settings.webhook_url and (own.is_server or not own.has_database):
        if own.state and "webhook_host" in own.state.addresses:
            raise SettingsError("the system posts events: set WEBHOOK_URL and WEBHOOK_SECRET")
        if not own.has_database or own.settings.pubsub_project_id == LOCAL_PROJECT:
            settings.fill_in(PUBLISH_EVENTS="off")
    settings.current.cache_clear()


def ingest() -> Ingest:
    """Return where commands post events: to EVENTS_URL, else to the system on the data folder.

    Raise SettingsError if the settings name another database than that of a local stack, because
    the command may look there for what is recorded.
    """
    local = target()
    current = local.settings
    if current.events_url and current.events_token:
        return Ingest(current.events_url, current.events_token)
    if current.events_url or current.events_token:
        missing = "EVENTS_TOKEN" if current.events_url else "EVENTS_URL"
        raise SettingsError(f"{missing} is not set: set both to post events elsewhere")
    others = "set EVENTS_URL and EVENTS_TOKEN, or add --pubsub"
    try:
        own = own_ingest()
    except StackError as error:
        raise SettingsError(f"{error}, {others}") from None
    is_local = local.has_database and not local.is_server
    if is_local and current.database_url != local.stack("DATABASE_URL")["database_url"]:
        raise SettingsError(f"DATABASE_URL is not that of the local stack: unset it, {others}")
    return own


def own_ingest() -> Ingest:
    """Return ingest of the system on the data folder; raise StackError if none runs."""
    state = data_folder.running(target().folder)
    return Ingest(state.addresses["events_url"], state.key, is_own=True)


def count_undelivered() -> list[Undelivered] | str:
    """Return each subscription's number of undelivered messages, or why it is unknown.

    On one machine, there are none.
    """
    from progress.adapters.pubsub import undelivered

    own = target()
    current = own.settings
    is_local = current.pubsub_project_id == LOCAL_PROJECT and own.state
    if not own.has_database or own.is_server or is_local:
        return []
    # Without a project, skip the call, because its search for credentials would take seconds.
    if not own.has_pubsub:
        return "the undelivered messages are unknown: PUBSUB_PROJECT_ID is not set"
    try:
        return undelivered.count(current.pubsub_project_id, current.pubsub_emulator_host)
    except PubSubUnavailable as error:
        return str(error)


def call_workers(operation_ids: Sequence[UUID], shards: Iterable[int] = ()) -> None:
    """Send a command for each operation, and a wake-up for each shard.

    If a system runs on the data folder, its project function gets them. Without it and without a
    Pub/Sub, send nothing, and if nobody takes the commands, only print a warning: a sweep finds
    what is due.
    """
    from progress.adapters.pubsub import wakeups

    own = target()
    # If the settings name a database, it may be another one than that of a local stack.
    if own.is_server or not own.has_database:
        with contextlib.suppress(StackError):
            state = data_folder.running(own.folder)
            settings.fill_in(SERVE_COMMANDS_URL=state.addresses["project_url"], SERVE_KEY=state.key)
            settings.current.cache_clear()
    if not (settings.current().serve_commands_url or own.has_pubsub):
        return
    try:
        wakeups.publish(operation_ids, shards)
    except PubSubUnavailable as error:
        typer.echo(f"the scheduled job calls a worker later: {error}", err=True)
