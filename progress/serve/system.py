"""The system on one machine: its functions, the carrier of their commands, and the batch job.

The functions have logins of their own, with the rights that they have in the cloud. Their passwords
are new at each start, so two systems cannot share a database.
"""

import contextlib
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from progress import auth
from progress.adapters.postgres import database, logins, migrations, url
from progress.adapters.postgres.logins import Login
from progress.adapters.telemetry import logs
from progress.errors import SettingsError
from progress.local import ports, process_specs, schedule, supervision
from progress.local.data_folder import DataFolder
from progress.local.ports import HOST
from progress.local.process_specs import Part
from progress.local.supervision import Supervisor
from progress.projections import rebuild
from progress.projections.changes import Publisher
from progress.serve import carrier
from progress.serve.carrier import Carrier
from progress.settings import LOCAL_PROJECT, Settings

_FUNCTIONS = ("ingest", "project", "query", "batch")  # each is a group of the database, too
_DRAIN_S = 5.0  # for the commands that wait when the system stops


@dataclass(frozen=True)
class Plan:
    """The processes of the system, and the port at which the carrier accepts commands.

    The addresses are written to the data folder, so they contain no password.
    """

    addresses: dict[str, str]
    commands_port: int
    functions: list[Part]
    batch: Part


def check(settings: Settings) -> None:
    """Raise SettingsError if these settings are not those of a server."""
    if not settings.database_url:
        raise SettingsError("DATABASE_URL is missing: name a PostgreSQL database of this system")
    if settings.environment == "development":
        why = "development is for `progress up`: leave it out, or name staging or production"
        raise SettingsError(f"ENVIRONMENT: {why}")
    if settings.pubsub_emulator_host:
        raise SettingsError("PUBSUB_EMULATOR_HOST: an emulator is for development")
    auth.load_issuer(settings)


async def serve(folder: DataFolder, host: str, port: int, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, and stop.

    Raise StackError if a process cannot start, SettingsError or DatabaseUnavailable.
    """
    supervision.end_leftovers(folder)
    plan = _plan(folder, host, port, settings, _prepare(settings))
    supervisor = Supervisor(folder, plan.addresses)
    async with carrier.carry(plan.commands_port, plan.addresses["project_url"]) as commands:
        try:
            await supervisor.run_until_stopped(_run(supervisor, plan, folder))
        finally:
            await _stop(supervisor, commands)


def _prepare(settings: Settings) -> dict[str, str]:
    """Migrate the database; return the URL with which each function connects to it."""
    owner = settings.database_url or ""
    own = [Login(f"progress_{n}", f"progress_serve_{n}", secrets.token_hex()) for n in _FUNCTIONS]
    with (
        contextlib.closing(database.connect(owner, name="serve")) as connection,
        migrations.exclusive(connection),
    ):
        migrations.apply(connection)
        logins.apply(connection, own)
        publisher = Publisher(settings.redis_url)
        rebuild.ensure(lambda: database.connect(owner, name="serve"), publisher)
    return {name: _url_of(owner, login) for name, login in zip(_FUNCTIONS, own, strict=True)}


def _url_of(owner: str, login: Login) -> str:
    at = url.parse_url(owner)
    where = urlencode({"host": at.host, "port": at.port, "sslmode": at.sslmode})
    return f"postgresql://{login.name}:{login.password}@/{quote(at.database, safe='')}?{where}"


def _plan(
    folder: DataFolder, host: str, port: int, settings: Settings, databases: dict[str, str]
) -> Plan:
    ports.check_free(port)
    ingest, project, commands = (ports.reserve() for _ in range(3))
    addresses = {
        "graphql_url": f"http://{HOST}:{port}/graphql",
        "ingest_url": f"http://{HOST}:{ingest}/",
        "events_url": f"http://{HOST}:{ingest}/events",
        "project_url": f"http://{HOST}:{project}/",
        "commands_url": f"http://{HOST}:{commands}/",
    }
    common = {
        "PROGRESS_DATA_DIR": str(folder.path),
        "SERVE_COMMANDS_URL": addresses["commands_url"],
        "SERVE_EVENTS_KEY": secrets.token_urlsafe(),
        "PUBLISH_EVENTS": _choose_publication(settings),
    }
    environments = {name: common | {"DATABASE_URL": databases[name]} for name in _FUNCTIONS}
    environments["query"]["SERVE_EVENTS_URL"] = addresses["events_url"]
    functions = [
        process_specs.function("ingest", ingest, environments["ingest"], ready="/health"),
        process_specs.function("project", project, environments["project"], ready="/"),
        process_specs.function("query", port, environments["query"], ready="/health", host=host),
    ]
    return Plan(addresses, commands, functions, process_specs.batch(environments["batch"]))


def _choose_publication(settings: Settings) -> str:
    """Return `PUBLISH_EVENTS`: without a project of Google Cloud, nothing leaves the system."""
    return "off" if settings.pubsub_project_id == LOCAL_PROJECT else settings.publish_events


async def _run(supervisor: Supervisor, plan: Plan, folder: DataFolder) -> None:
    await supervisor.keep(*plan.functions)
    supervisor.set_ready()
    logs.write("INFO", f"ready: {plan.addresses['graphql_url']}")
    await schedule.keep(folder, lambda: supervisor.try_run(plan.batch))


async def _stop(supervisor: Supervisor, commands: Carrier) -> None:
    """Stop what accepts events; then let project finish, and stop it."""
    supervisor.end_restarts()
    await supervisor.stop_parts("query", "ingest")
    await commands.drain(_DRAIN_S)
    await supervisor.stop()
