"""Databases and query functions of the tests of live updates."""

import functools
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.conftest import Store
from tests.support import subscription_client
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.subscription_client import LessonRecorder, Serve


@pytest.fixture
def serve(store: Store) -> Serve:
    return functools.partial(subscription_client.query_function, store.url)


@pytest.fixture(scope="module")
def database(servers: Callable[[str], Server]) -> Iterator[str]:
    """One database for all tests of a module; each test has its own learners."""
    with servers(EMBEDDED).open_database() as url:
        yield url


@pytest.fixture(scope="module")
def recorder(database: str) -> Iterator[LessonRecorder]:
    with closing(LessonRecorder(database)) as recorder:
        yield recorder
