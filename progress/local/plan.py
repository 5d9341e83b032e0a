"""What a local stack consists of: its parts, their ports and what each is told of the others."""

from dataclasses import dataclass

from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.statements import blocks
from progress.local import datafolder, devkeys, emulator, issuer, parts, ports, postgres
from progress.local.datafolder import DataFolder
from progress.local.parts import Part
from progress.local.ports import HOST
from progress.projections import rebuild
from progress.settings import Settings

_DATABASE = "progress"


@dataclass(frozen=True)
class Plan:
    """The parts of a stack, and where they are for others."""

    addresses: dict[str, str]
    jwks_port: int
    server: Part | None  # PostgreSQL, unless DATABASE_URL names another
    beside: list[Part]  # need no database
    above: list[Part]  # need the database
    topology: Part  # runs to its end once Pub/Sub answers
    batch: Part  # runs to its end every five minutes

    @property
    def names(self) -> list[str]:
        """The names of all parts."""
        servers = [self.server] if self.server else []
        several = [*servers, *self.beside, *self.above, self.topology, self.batch]
        return [part.name for part in several]


def draw(folder: DataFolder, port: int, given: Settings, *, standin: bool) -> Plan:
    """The stack on `folder` with the query function on `port`; StackError where it cannot be.

    With `standin`, our own Pub/Sub is used though Google's emulator is there.
    """
    ports.claim(port)
    at = {part: ports.free() for part in ("ingest", "project", "valkey", "pubsub", "jwks")}
    where = _addresses(folder, port, at, given)
    common = _environment(folder, where, given)
    told = {
        name: common | {"DATABASE_URL": given.database_url or _url(folder, f"local_{name}")}
        for name in ("ingest", "project", "query", "batch")
    }
    topology = parts.topology(where["ingest_url"], where["project_url"], common)
    beside = [] if given.redis_url else [parts.cache(folder, at["valkey"])]
    above = [
        parts.function("ingest", at["ingest"], told["ingest"], ready="/"),
        parts.function("project", at["project"], told["project"], ready="/"),
        parts.function("query", port, told["query"], ready="/health"),
    ]
    found = None if standin else emulator.find()
    if found and not given.pubsub_emulator_host:
        beside.append(parts.emulator(found, at["pubsub"], topology))
    elif not given.pubsub_emulator_host:
        owner = common | {"DATABASE_URL": where["database_url"]}
        above.append(parts.standin(at["pubsub"], owner, topology))
    server = None if given.database_url else _server(folder)
    return Plan(where, at["jwks"], server, beside, above, topology, parts.batch(told["batch"]))


def prepare(stack: Plan, folder: DataFolder) -> None:
    """Bring the database to the present schemas; in one of our own, make it and its users first."""
    if stack.server:
        connection = database.connect(postgres.url(folder.postgres))
        if not connection.run(blocks("local/database")["database"])[0][0]:
            connection.run(blocks("local/database")["make database"])
        connection.close()
    connection = database.connect(stack.addresses["database_url"])
    migrations.apply(connection)
    if stack.server:
        connection.run(blocks("local/database")["users"])
    connection.close()
    rebuild.ensure(lambda: database.connect(stack.addresses["database_url"]))


def _server(folder: DataFolder) -> Part:
    datafolder.check_postgres(folder, postgres.major())
    postgres.prepare(folder.postgres)
    return parts.database_server(folder)


def _url(folder: DataFolder, user: str) -> str:
    return postgres.url(folder.postgres, user=user, database=_DATABASE)


def _addresses(
    folder: DataFolder, port: int, at: dict[str, int], given: Settings
) -> dict[str, str]:
    return {
        "graphql_url": f"http://{HOST}:{port}/graphql",
        "ingest_url": f"http://{HOST}:{at['ingest']}/",
        "project_url": f"http://{HOST}:{at['project']}/",
        "pubsub_emulator_host": given.pubsub_emulator_host or f"{HOST}:{at['pubsub']}",
        "project_id": given.pubsub_project_id,
        "database_url": given.database_url or _url(folder, postgres.SUPERUSER),
        "redis_url": given.redis_url or f"redis://{HOST}:{at['valkey']}/0",
        "jwks_url": given.auth_jwks_url or f"http://{HOST}:{at['jwks']}/jwks.json",
        "sign_in_url": given.auth_sign_in_url or f"http://{HOST}:{at['jwks']}{issuer.SIGN_IN}",
    }


def _environment(folder: DataFolder, where: dict[str, str], given: Settings) -> dict[str, str]:
    return {
        "ENVIRONMENT": "development",
        "PROGRESS_DATA_DIR": str(folder.path),
        "PUBSUB_PROJECT_ID": where["project_id"],
        "PUBSUB_EMULATOR_HOST": where["pubsub_emulator_host"],
        "REDIS_URL": where["redis_url"],
        "AUTH_ISSUER": given.auth_issuer or devkeys.ISSUER,
        "AUTH_AUDIENCE": given.auth_audience or devkeys.AUDIENCE,
        "AUTH_JWKS_URL": where["jwks_url"],
        "AUTH_SIGN_IN_URL": where["sign_in_url"],
    }
