"""Connections through Google's Cloud SQL connector, which returns DB-API connections of pg8000."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import google.auth.exceptions
import msgspec
import pg8000.dbapi
import pytest
import yarl

from progress.adapters.postgres import database, url
from progress.adapters.postgres.async_client import Database
from progress.errors import DatabaseUnavailable, SettingsError
from progress.settings import Settings

CLOUD = Settings(
    instance_connection_name="project:region:instance", db_name="postgres", db_iam_user="postgres"
)

_ASKED = aiohttp.RequestInfo(yarl.URL("https://sqladmin.googleapis.com"), "GET", {})  # type: ignore[arg-type]  # no headers
REFUSALS = {
    "not allowed": aiohttp.ClientResponseError(_ASKED, (), status=403, message="Forbidden"),
    "cut off": aiohttp.ServerDisconnectedError(),
    "no token": google.auth.exceptions.TransportError("no answer"),  # type: ignore[no-untyped-call]  # has no types
}


@pytest.fixture
def instance(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    at = url.parse_url(postgres)

    class Connector:
        def __init__(self, *, ip_type: str, refresh_strategy: str, loop: Any = None) -> None:
            assert (ip_type, refresh_strategy) == ("PRIVATE", "lazy")

        def connect(self, _instance: str, driver: str, *, db: str, **options: Any) -> Any:
            assert driver == "pg8000"
            assert options.pop("enable_iam_auth")
            if options["user"] == "nobody":
                raise ConnectionRefusedError
            if refusal := REFUSALS.get(options["user"]):
                raise refusal
            return pg8000.dbapi.connect(
                database=db, unix_sock=f"{at.host}/.s.PGSQL.{at.port}", ssl_context=False, **options
            )

        async def connect_async(self, _instance: str, driver: str, **options: Any) -> Any:
            assert driver == "asyncpg"
            raise REFUSALS[options["user"]]

    database._connector.cache_clear()
    monkeypatch.setattr("google.cloud.sql.connector.Connector", Connector)
    yield
    database._connector.cache_clear()


@pytest.mark.usefixtures("instance")
def test_a_connection_from_the_connector_runs_and_prepares_statements() -> None:
    connection = database.connect(CLOUD, name="ingest", timeout_s=5)
    assert connection.run("SHOW timezone") == [["UTC"]]
    assert connection.prepare("SELECT :n + 1").run(n=1) == [[2]]
    connection.close()


@pytest.mark.usefixtures("instance")
def test_the_error_names_an_unreachable_instance() -> None:
    with pytest.raises(DatabaseUnavailable, match="project:region:instance"):
        database.connect(msgspec.structs.replace(CLOUD, db_iam_user="nobody"))


@pytest.mark.parametrize("user", REFUSALS)
@pytest.mark.usefixtures("instance")
def test_the_database_is_unavailable_if_google_returns_an_error(user: str) -> None:
    dsn = msgspec.structs.replace(CLOUD, db_iam_user=user)
    with pytest.raises(DatabaseUnavailable, match="project:region:instance: "):
        database.connect(dsn)

    async def run_query() -> None:
        await Database(dsn, name="tests", size=1, search_path="public").run(
            lambda session: session.fetch("SELECT")
        )

    with pytest.raises(DatabaseUnavailable, match="project:region:instance: "):
        asyncio.run(run_query())


def test_the_database_is_unavailable_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    with pytest.raises(DatabaseUnavailable, match=r"project:region:instance: .*/nowhere"):
        database.connect(CLOUD)


def test_the_error_names_an_invalid_or_missing_setting() -> None:
    for setting, value in [
        ("instance_connection_name", "instance"),
        ("db_name", None),
        ("db_iam_user", None),
    ]:
        dsn = msgspec.structs.replace(CLOUD, **{setting: value})
        with pytest.raises(SettingsError, match=setting.upper()):
            database.connect(dsn)
