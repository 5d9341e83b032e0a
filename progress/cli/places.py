"""Where the commands work: as the environment says, else the local stack of the data folder.

The stack's modules are imported where it is asked for: they need packages of development's.
"""

from typing import TYPE_CHECKING

from progress import settings
from progress.adapters import startup
from progress.adapters.postgres.database import Connection
from progress.errors import SettingsError, StackError
from progress.projections.notifications import Publisher
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.local.datafolder import DataFolder


def folder() -> "DataFolder":
    """The data folder that `PROGRESS_DATA_DIR` names."""
    from progress.local import datafolder

    return datafolder.at(settings.current().progress_data_dir)


def given_database() -> Settings | None:
    """The settings, if they name a database."""
    given = settings.current()
    return given if given.database_url or given.instance_connection_name else None


def where() -> Settings | str:
    """The database."""
    if given := given_database():
        return given
    return _stack()["database_url"]


def _stack() -> dict[str, str]:
    """The addresses of the local stack."""
    from progress.local import stack as local

    try:
        return local.running(folder()).addresses
    except StackError as fault:
        raise SettingsError(f"{fault}, or set DATABASE_URL") from None


def redis() -> str:
    """The URL of Redis; SettingsError where there is none."""
    if url := settings.current().redis_url:
        return url
    if given_database():
        raise SettingsError("REDIS_URL is not set: without a Redis nothing is kept")
    return _stack()["redis_url"]


def connect() -> Connection:
    """Connect to the database, as its owner."""
    return startup.connect(where(), name="progress-cli")


def change_publisher() -> Publisher:
    """Return the publisher of changes, to the Redis of the settings or of the local stack."""
    url = settings.current().redis_url
    return Publisher(url if url or given_database() else _stack()["redis_url"])


def pubsub() -> tuple[str, str]:
    """The project, and the emulator's address; StackError where there is none."""
    given = settings.current()
    if given.pubsub_emulator_host:
        return given.pubsub_project_id, given.pubsub_emulator_host
    try:
        from progress.local import stack as local
    except ModuleNotFoundError:
        raise StackError("there is no local stack here: set PUBSUB_EMULATOR_HOST") from None

    where = local.running(folder()).addresses
    return where["project_id"], where["pubsub_emulator_host"]
