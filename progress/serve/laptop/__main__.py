"""The local stack: the system with what a laptop lacks, and a log file for each process.

These are PostgreSQL and Valkey, unless DATABASE_URL and REDIS_URL name others, and the issuer.
`progress up` runs it as a process of its own: `python -m progress.serve.laptop --port PORT`.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import sys

from aiohttp import web

from progress import settings
from progress.adapters.postgres import database
from progress.errors import ProgressError
from progress.serve import data_folder, development_key, ports, supervision, system
from progress.serve.data_folder import DataFolder
from progress.serve.laptop import documents, issuer, postgres, valkey
from progress.serve.laptop.issuer import Issuer
from progress.serve.ports import HOST
from progress.serve.supervision import Supervisor
from progress.serve.system import SystemPlan
from progress.settings import Settings

log = logging.getLogger("progress.serve")

_FILE = "serve/laptop"
_DATABASE = "progress"
_MAX_LINE = 32_768  # bytes: the token of a teacher of 50 groups is in an address
_ORIGINS = "http://localhost:*,http://127.0.0.1:*"  # a frontend's own development server
_NAMES = ("postgres", "valkey", "ingest", "project", "query", "batch", "dump")
_LAST = ("valkey", "postgres")  # stopped last


async def run(folder: DataFolder, port: int, current: Settings) -> None:
    data_folder.end_leftovers(folder)
    number = ports.reserve()
    plan = _plan(folder, port, number, current)
    supervisor = Supervisor(folder, plan.addresses, plan.key, *_NAMES)
    development_key.ensure(folder.key)
    own_issuer = Issuer(folder, port=number, page_port=port)
    answers = web.Server(own_issuer.answer, access_log=None, max_line_size=_MAX_LINE)
    server = await asyncio.get_running_loop().create_server(answers, HOST, number)
    try:
        await supervisor.run_until_stopped(
            _run(supervisor, plan, current), _wait_for_removal(folder)
        )
    finally:
        server.close()
        await system.stop(supervisor, *_LAST)
        postgres.tidy(folder.postgres)


async def _wait_for_removal(folder: DataFolder) -> None:
    """Return once the data folder is deleted; no command can then find the stack and stop it."""
    while folder.lock.exists():
        await asyncio.sleep(1)
    log.warning("the data folder is gone: stopping")


async def _run(supervisor: Supervisor, plan: SystemPlan, current: Settings) -> None:
    async with asyncio.TaskGroup() as group:
        if not current.redis_url:
            cache = valkey.describe(plan.folder, plan.port("redis_url"))
            group.create_task(supervisor.keep(cache))
        if not current.database_url:
            postgres.prepare(plan.folder.postgres)
            await supervisor.keep(postgres.describe(plan.folder))
            url = postgres.url(plan.folder.postgres)
            with contextlib.closing(database.connect(url)) as connection:
                if not database.run(connection, _FILE, "exists")[0][0]:
                    database.run(connection, _FILE, "create database")
        databases = system.prepare(plan.addresses["database_url"], current)
        if not current.database_url:
            with contextlib.closing(database.connect(plan.addresses["database_url"])) as owner:
                database.run(owner, _FILE, "create analyst")
        group.create_task(system.run(supervisor, plan, databases))


def _plan(folder: DataFolder, port: int, issuer_port: int, current: Settings) -> SystemPlan:
    """Plan the stack; nothing leaves it by Pub/Sub, which the settings may name for commands."""
    if not current.database_url:
        data_folder.check_postgres(folder, postgres.major())
    own = postgres.url(folder.postgres, user=postgres.SUPERUSER, database=_DATABASE)
    addresses = {
        "project_id": current.pubsub_project_id,
        "database_url": current.database_url or own,
        "redis_url": current.redis_url or f"redis://{HOST}:{ports.reserve()}/0",
        "jwks_url": current.auth_jwks_url or f"http://{HOST}:{issuer_port}/jwks.json",
        "sign_in_url": current.auth_sign_in_url or f"http://{HOST}:{issuer_port}{issuer.SIGN_IN}",
    }
    runbook = f"http://{HOST}:{issuer_port}{documents.PATH}runbook.md"
    common = {
        "ENVIRONMENT": "development",
        "PUBSUB_PROJECT_ID": addresses["project_id"],
        "PUBSUB_EMULATOR_HOST": "",
        "PUBLISH_EVENTS": current.publish_events if current.webhook_url else "off",
        "REDIS_URL": addresses["redis_url"],
        "AUTH_ISSUER": current.auth_issuer or development_key.ISSUER,
        "AUTH_AUDIENCE": current.auth_audience or development_key.AUDIENCE,
        "AUTH_JWKS_URL": addresses["jwks_url"],
        "AUTH_SIGN_IN_URL": addresses["sign_in_url"],
        "RUNBOOK_URL": current.runbook_url or runbook,
        "CORS_ORIGINS": current.cors_origins or _ORIGINS,
        "LEARNERS_MAY_POST": "false" if current.learners_may_post is False else "true",
    }
    plan = system.make_plan(folder, HOST, port, common, current)
    plan.addresses.update(addresses)
    return plan


def main() -> None:
    """Run the stack; on an error, print the message as the last line and exit with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    os.umask(0o077)  # files of the processes are accessible to their owner only
    current = settings.current()
    folder = data_folder.at(current.progress_data_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        with data_folder.hold(folder, timeout_s=1) as is_free:
            if is_free:
                asyncio.run(run(folder, options.port, current))
    except (ProgressError, BaseExceptionGroup) as error:
        first = supervision.first_error(error)
        if not isinstance(first, ProgressError):
            raise
        sys.exit(str(first))


if __name__ == "__main__":
    main()
