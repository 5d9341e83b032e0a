"""The plan of a local stack: its processes with their ports and environments."""

from dataclasses import dataclass

from progress.adapters.postgres import database, migrations
from progress.local import (
    data_folder,
    development_key,
    documents,
    issuer,
    ports,
    postgres,
    process_specs,
)
from progress.local.data_folder import DataFolder
from progress.local.ports import HOST
from progress.local.process_specs import Part
from progress.projections import rebuild
from progress.settings import Settings

_FILE = "local/database"
_DATABASE = "progress"
_ORIGINS = "http://localhost:*,http://127.0.0.1:*"  # a frontend's own development server


@dataclass(frozen=True)
class Plan:
    """The processes of a stack, and their addresses.

    `server` is None if DATABASE_URL names another database server. The `dependent` processes need
    the database. `topology` runs after Pub/Sub is ready, and `batch` runs every five minutes.
    """

    addresses: dict[str, str]
    jwks_port: int
    server: Part | None
    independent: list[Part]
    dependent: list[Part]
    topology: Part
    batch: Part

    @property
    def names(self) -> list[str]:
        servers = [self.server] if self.server else []
        every = [*servers, *self.independent, *self.dependent, self.topology, self.batch]
        return [part.name for part in every]


def make(folder: DataFolder, port: int, settings: Settings, *, standin: bool) -> Plan:
    """Plan the stack on `folder`, with the query function on `port`.

    With `standin`, the plan has this repository's Pub/Sub stand-in even if Google's emulator is
    installed. Raise StackError if the port is taken, or if another major version of PostgreSQL
    created the database.
    """
    ports.check_free(port)
    programs = None if standin else process_specs.find_emulator()
    numbers = _reserve_ports(has_emulator=programs is not None)
    addresses = _addresses(folder, port, numbers, settings)
    common = _environment(folder, addresses, settings, numbers["jwks"])
    environments = {
        name: common | {"DATABASE_URL": settings.database_url or _url(folder, f"local_{name}")}
        for name in ("ingest", "project", "query", "batch")
    }
    environments["query"]["SERVE_EVENTS_URL"] = addresses["events_url"]
    topology = process_specs.topology(addresses["ingest_url"], addresses["project_url"], common)
    independent = [] if settings.redis_url else [process_specs.cache(folder, numbers["valkey"])]
    dependent = _functions({**numbers, "query": port}, environments)
    if programs and not settings.pubsub_emulator_host:
        independent.append(process_specs.emulator(programs, numbers["pubsub"], topology))
    elif not settings.pubsub_emulator_host:
        owner = common | {"DATABASE_URL": addresses["database_url"]}
        part = process_specs.standin(numbers["pubsub"], numbers["pubsub_rest"], owner, topology)
        dependent.append(part)
    server = None if settings.database_url else _server(folder)
    batch = process_specs.batch(environments["batch"])
    return Plan(addresses, numbers["jwks"], server, independent, dependent, topology, batch)


def prepare(stack: Plan, folder: DataFolder) -> None:
    """Migrate the database; in the stack's own server, also create the database and its users."""
    if stack.server:
        connection = database.connect(postgres.url(folder.postgres))
        if not database.run(connection, _FILE, "exists")[0][0]:
            database.run(connection, _FILE, "create database")
        connection.close()
    connection = database.connect(stack.addresses["database_url"])
    migrations.apply(connection)
    if stack.server:
        database.run(connection, _FILE, "create users")
    connection.close()
    rebuild.ensure(lambda: database.connect(stack.addresses["database_url"]))


def _reserve_ports(*, has_emulator: bool) -> dict[str, int]:
    names = ("ingest", "project", "valkey", "pubsub", "pubsub_rest", "jwks")
    numbers = {part: ports.reserve() for part in names}
    if has_emulator:  # The emulator serves gRPC and REST on the same port.
        numbers["pubsub_rest"] = numbers["pubsub"]
    return numbers


def _functions(numbers: dict[str, int], environments: dict[str, dict[str, str]]) -> list[Part]:
    paths = {"ingest": "/", "project": "/", "query": "/health"}
    return [
        process_specs.function(name, numbers[name], environments[name], ready=path)
        for name, path in paths.items()
    ]


def _server(folder: DataFolder) -> Part:
    data_folder.check_postgres(folder, postgres.major())
    postgres.prepare(folder.postgres)
    return process_specs.database_server(folder)


def _url(folder: DataFolder, user: str) -> str:
    return postgres.url(folder.postgres, user=user, database=_DATABASE)


def _addresses(
    folder: DataFolder, port: int, numbers: dict[str, int], settings: Settings
) -> dict[str, str]:
    rest = settings.pubsub_emulator_host or f"{HOST}:{numbers['pubsub_rest']}"
    return {
        "graphql_url": f"http://{HOST}:{port}/graphql",
        "ingest_url": f"http://{HOST}:{numbers['ingest']}/",
        "events_url": f"http://{HOST}:{numbers['ingest']}/events",
        "project_url": f"http://{HOST}:{numbers['project']}/",
        "pubsub_emulator_host": settings.pubsub_emulator_host or f"{HOST}:{numbers['pubsub']}",
        "pubsub_rest_url": f"http://{rest}",
        "project_id": settings.pubsub_project_id,
        "database_url": settings.database_url or _url(folder, postgres.SUPERUSER),
        "redis_url": settings.redis_url or f"redis://{HOST}:{numbers['valkey']}/0",
        "jwks_url": settings.auth_jwks_url or f"http://{HOST}:{numbers['jwks']}/jwks.json",
        "sign_in_url": settings.auth_sign_in_url
        or f"http://{HOST}:{numbers['jwks']}{issuer.SIGN_IN}",
    }


def _environment(
    folder: DataFolder, addresses: dict[str, str], settings: Settings, issuer_port: int
) -> dict[str, str]:
    return {
        "ENVIRONMENT": "development",
        "PROGRESS_DATA_DIR": str(folder.path),
        "PUBSUB_PROJECT_ID": addresses["project_id"],
        "PUBSUB_EMULATOR_HOST": addresses["pubsub_emulator_host"],
        "REDIS_URL": addresses["redis_url"],
        "AUTH_ISSUER": settings.auth_issuer or development_key.ISSUER,
        "AUTH_AUDIENCE": settings.auth_audience or development_key.AUDIENCE,
        "AUTH_JWKS_URL": addresses["jwks_url"],
        "AUTH_SIGN_IN_URL": addresses["sign_in_url"],
        "RUNBOOK_URL": settings.runbook_url
        or f"http://{HOST}:{issuer_port}{documents.PATH}runbook.md",
        "CORS_ORIGINS": settings.cors_origins or _ORIGINS,
    }
