"""Cloud SQL by its connector, which gives pg8000's DB-API connections."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pg8000.dbapi
import pytest
from google.cloud.sql import connector

from progress import database, databaseurl
from progress.errors import Unavailable
from progress.settings import Settings

CLOUD = Settings(
    instance_connection_name="project:region:instance", db_name="postgres", db_iam_user="postgres"
)


@pytest.fixture
def instance(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The connector finds a server of our own behind the instance's name."""
    at = databaseurl.address(postgres)

    class Connector:
        def __init__(self, *, ip_type: str, refresh_strategy: str) -> None:
            assert (ip_type, refresh_strategy) == ("PRIVATE", "lazy")

        def connect(self, _instance: str, driver: str, *, db: str, **given: Any) -> Any:
            assert driver == "pg8000"
            assert given.pop("enable_iam_auth")
            if given["user"] == "nobody":
                raise ConnectionRefusedError
            return pg8000.dbapi.connect(
                database=db, unix_sock=f"{at.host}/.s.PGSQL.{at.port}", ssl_context=False, **given
            )

    database._connector.cache_clear()
    monkeypatch.setattr(connector, "Connector", Connector)
    yield
    database._connector.cache_clear()


@pytest.mark.usefixtures("instance")
def test_its_connections_are_like_any_other() -> None:
    connection = database.connect(CLOUD, name="ingest", patience=5)
    assert connection.run("SHOW timezone") == [["UTC"]]
    assert connection.prepare("SELECT :n + 1").run(n=1) == [[2]]
    connection.close()


@pytest.mark.usefixtures("instance")
def test_an_instance_that_is_away_is_told() -> None:
    with pytest.raises(Unavailable, match="project:region:instance"):
        database.connect(msgspec.structs.replace(CLOUD, db_iam_user="nobody"))
