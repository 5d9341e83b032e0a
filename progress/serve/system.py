"""The system on one machine: its functions, the carrier of their commands, and the batch job.

The functions have logins of their own, named after the database, with the rights that they have in
the cloud. Their passwords are new at each start. A lock keeps a second system off the database.
"""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from progress import auth
from progress.adapters.postgres import database, logins, migrations, url
from progress.adapters.postgres.logins import Login
from progress.adapters.postgres.url import Address
from progress.adapters.telemetry import logs
from progress.errors import SettingsError
from progress.local import ports, process_specs, schedule, supervision
from progress.local.data_folder import DataFolder
from progress.local.ports import HOST
from progress.local.process_specs import Part
from progress.local.supervision import Supervisor
from progress.projections import rebuild
from progress.projections.changes import Publisher
from progress.serve import carrier, sessions
from progress.serve.carrier import Carrier
from progress.serve.sessions import Lock
from progress.settings import LOCAL_PROJECT, Settings

_FUNCTIONS = ("ingest", "project", "query", "batch")  # each is a group of the database, too
_DUMP = "backup"  # the group of the run that dumps the log
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
    dump: Part | None


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

    Raise StackError if a process cannot start, or if another system has the database; also raise
    SettingsError or DatabaseUnavailable.
    """
    supervision.end_leftovers(folder)
    lock = Lock(settings.database_url or "", folder.path)
    await lock.take()
    try:
        databases, wakes = _prepare(settings)
        plan = _plan(folder, host, port, settings, databases)
        supervisor = Supervisor(folder, plan.addresses)
        to = plan.addresses["project_url"]
        async with carrier.carry(plan.commands_port, to, wakes) as commands:
            urls = [each["DATABASE_URL"] for each in databases.values()]
            work = _run(supervisor, plan, folder, lock, urls)
            try:
                await supervisor.run_until_stopped(work)
            finally:
                await _stop(supervisor, commands)
    finally:
        lock.release()


def _prepare(settings: Settings) -> tuple[dict[str, dict[str, str]], int]:
    """Migrate the database; return each function's settings, and the most wake-ups at a time."""
    owner = settings.database_url or ""
    at = url.parse_url(owner)
    names = (*_FUNCTIONS, _DUMP) if settings.dump_to else _FUNCTIONS
    groups = [f"progress_{name}" for name in names]
    own = [Login(g, logins.name_after(g, at.database), secrets.token_hex()) for g in groups]
    with (
        contextlib.closing(database.connect(owner, name="serve")) as connection,
        migrations.exclusive(connection),
    ):
        pools, wakes = sessions.share(connection, settings)
        migrations.apply(connection)
        if logins.restrict(connection):
            do = f'REVOKE CONNECT ON DATABASE "{at.database}" FROM PUBLIC'
            logs.write("WARNING", f"every login of the server may connect: a superuser runs {do}")
        logins.apply(connection, own)
        publisher = Publisher(settings.redis_url)
        rebuild.ensure(lambda: database.connect(owner, name="serve"), publisher)
    urls = zip(names, (_url_of(at, login) for login in own), strict=True)
    databases = {name: {"DATABASE_URL": url} for name, url in urls}
    databases["query"] |= pools
    return databases, wakes


def _url_of(at: Address, login: Login) -> str:
    where = urlencode({"host": at.host, "port": at.port, "sslmode": at.sslmode})
    name, database_name = (quote(text, safe="") for text in (login.name, at.database))
    return f"postgresql://{name}:{login.password}@/{database_name}?{where}"


def _plan(
    folder: DataFolder,
    host: str,
    port: int,
    settings: Settings,
    databases: dict[str, dict[str, str]],
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
    environments = {name: common | address for name, address in databases.items()}
    environments["query"]["SERVE_EVENTS_URL"] = addresses["events_url"]
    functions = [
        process_specs.function("ingest", ingest, environments["ingest"], ready="/health"),
        process_specs.function("project", project, environments["project"], ready="/"),
        process_specs.function("query", port, environments["query"], ready="/health", host=host),
    ]
    dump = process_specs.dump(environments[_DUMP]) if _DUMP in environments else None
    batch = process_specs.batch(environments["batch"])
    return Plan(addresses, commands, functions, batch, dump)


def _choose_publication(settings: Settings) -> str:
    """Return `PUBLISH_EVENTS`: without a project of Google Cloud, nothing leaves the system."""
    return "off" if settings.pubsub_project_id == LOCAL_PROJECT else settings.publish_events


async def _run(
    supervisor: Supervisor, plan: Plan, folder: DataFolder, lock: Lock, urls: list[str]
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(lock.keep())
        group.create_task(sessions.watch_logins(urls))
        await supervisor.keep(*plan.functions)
        supervisor.set_ready()
        logs.write("INFO", f"ready: {plan.addresses['graphql_url']}")
        if dump := plan.dump:
            group.create_task(schedule.keep_dumps(folder, lambda: supervisor.try_run(dump)))
        await schedule.keep(folder, lambda: supervisor.try_run(plan.batch))


async def _stop(supervisor: Supervisor, commands: Carrier) -> None:
    """Stop what accepts events; then let project finish, and stop it."""
    supervisor.end_restarts()
    await supervisor.stop_parts("query", "ingest")
    await commands.drain(_DRAIN_S)
    await supervisor.stop()
