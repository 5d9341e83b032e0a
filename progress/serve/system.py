"""The system on one machine: its functions, the sweep for what nobody woke, and the batch job.

Each has a login of its own, named after the database, with the rights that it has in the cloud.
Their passwords are new at each start.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from progress import auth
from progress.adapters.postgres import database, logins, migrations, url
from progress.adapters.telemetry import logs
from progress.errors import SettingsError
from progress.projections import rebuild
from progress.serve import (
    batch_schedule,
    data_folder,
    former_queue,
    own_database,
    ports,
    process_specs,
)
from progress.serve.data_folder import DataFolder
from progress.serve.own_database import Lock
from progress.serve.ports import HOST
from progress.serve.supervision import Supervisor
from progress.serve.sweep import Sweep
from progress.settings import LOCAL_PROJECT, Settings

_DUMP = "backup"  # the group of the run that dumps the log


@dataclass(frozen=True)
class SystemPlan:
    """What the processes of the system share.

    The addresses are written to the data folder, and printed, so they contain no password.
    """

    folder: DataFolder
    host: str
    addresses: dict[str, str]
    key: str
    common: Mapping[str, str]  # settings of all processes

    def port(self, name: str) -> int:
        return urlsplit(self.addresses[name]).port or 0


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


def make_plan(
    folder: DataFolder, host: str, port: int, common: Mapping[str, str], settings: Settings
) -> SystemPlan:
    """Plan the system on `port`; raise StackError if the port is taken."""
    ports.check_free(port)
    ingest, worker = ports.reserve(), ports.reserve()
    key = secrets.token_urlsafe()
    addresses = {
        "graphql_url": f"http://{HOST}:{port}/graphql",
        "ingest_url": f"http://{HOST}:{ingest}/",
        "events_url": f"http://{HOST}:{ingest}/events",
        "project_url": f"http://{HOST}:{worker}/",
    }
    if settings.webhook_url:
        addresses["webhook_host"] = urlsplit(settings.webhook_url).hostname or ""
    own = {
        "PROGRESS_DATA_DIR": str(folder.path),
        "SERVE_COMMANDS_URL": addresses["project_url"],
        "SERVE_KEY": key,
    }
    return SystemPlan(folder, host, addresses, key, {**own, **common})


async def serve(folder: DataFolder, host: str, port: int, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, and stop.

    Raise StackError if a process cannot start, or if another system has the database; also raise
    SettingsError or DatabaseUnavailable. A lock keeps a second system off the database.
    """
    data_folder.end_leftovers(folder)
    lock = Lock(settings.database_url or "", folder.path)
    await lock.take()
    try:
        common = {"PUBLISH_EVENTS": _choose_publication(settings)}
        plan = make_plan(folder, host, port, common, settings)
        databases = prepare(settings.database_url or "", settings)
        supervisor = Supervisor(folder, plan.addresses, plan.key)
        urls = [each["DATABASE_URL"] for each in databases.values()]
        guards = (lock.keep(), own_database.watch_logins(urls))
        try:
            await supervisor.run_until_stopped(run(supervisor, plan, databases, *guards))
        finally:
            await stop(supervisor)
    finally:
        lock.release()


def prepare(owner: str, settings: Settings) -> dict[str, dict[str, str]]:
    """Migrate the database; return each process's settings."""
    at = url.parse_url(owner)
    own = logins.of_system(at.database, dumps=bool(settings.dump_to))
    with (
        contextlib.closing(database.connect(owner, name="serve")) as connection,
        migrations.exclusive(connection),
    ):
        pools, wakes = own_database.share(connection, settings)
        migrations.apply(connection, logins=own)
        former_queue.record(connection)
        if logins.restrict(connection):
            do = f'REVOKE CONNECT ON DATABASE "{at.database}" FROM PUBLIC'
            logs.write("WARNING", f"every login of the server may connect: a superuser runs {do}")
        logins.apply(connection, own)
        rebuild.ensure(lambda: database.connect(owner, name="serve"))
    where = urlencode({"host": at.host, "port": at.port, "sslmode": at.sslmode})
    databases = {}
    for login in own:
        user, name = (quote(text, safe="") for text in (login.name, at.database))
        login_url = f"postgresql://{user}:{login.password}@/{name}?{where}"
        databases[login.group.removeprefix("progress_")] = {"DATABASE_URL": login_url}
    databases["query"] |= pools
    databases["project"]["SERVE_WAKES"] = str(wakes)
    return databases


def _choose_publication(settings: Settings) -> str:
    """Return `PUBLISH_EVENTS`: without a webhook or a project of Google Cloud, nothing leaves."""
    leaves = settings.webhook_url or settings.pubsub_project_id != LOCAL_PROJECT
    chosen = settings.publish_events if leaves else "off"
    settings.check_retention(chosen)
    return chosen


async def run(
    supervisor: Supervisor,
    plan: SystemPlan,
    databases: Mapping[str, Mapping[str, str]],
    *guards: Coroutine[Any, Any, None],
) -> None:
    """Run the system, and the guards, which end it with their errors; never return."""
    environments = {name: {**plan.common, **own} for name, own in databases.items()}
    environments["query"]["SERVE_EVENTS_URL"] = plan.addresses["events_url"]
    parts = [
        process_specs.function("ingest", plan.port("ingest_url"), environments["ingest"]),
        process_specs.function("project", plan.port("project_url"), environments["project"]),
        process_specs.function(
            "query", plan.port("graphql_url"), environments["query"], host=plan.host
        ),
    ]
    sweep = Sweep(
        databases["batch"]["DATABASE_URL"], plan.addresses["project_url"], plan.key,
        plan.common["PUBLISH_EVENTS"],
    )  # fmt: skip
    batch = process_specs.batch(environments["batch"])
    async with asyncio.TaskGroup() as group:
        for guard in guards:
            group.create_task(guard)
        await supervisor.keep(*parts)
        group.create_task(sweep.keep())
        supervisor.set_ready()
        logs.write("INFO", f"ready: {plan.addresses['graphql_url']}")
        if _DUMP in environments:
            dump = process_specs.dump(environments[_DUMP])
            dumps = batch_schedule.keep_dumps(plan.folder, lambda: supervisor.run(dump))
            group.create_task(dumps)
        await batch_schedule.keep(plan.folder, lambda: supervisor.run(batch))


async def stop(supervisor: Supervisor, *last: str) -> None:
    """Stop what accepts events; let project finish; then stop the rest, and at last `last`."""
    supervisor.end_restarts()
    await supervisor.stop_parts("query", "ingest")
    await supervisor.stop(*last)
