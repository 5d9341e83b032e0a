"""What the tests of a module share. Each test has its own learners."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.subscription_client import LessonRecorder


@pytest.fixture(scope="module")
def database(servers: Callable[[str], Server]) -> Iterator[str]:
    with servers(EMBEDDED).open_database() as url:
        yield url


@pytest.fixture(scope="module")
def recorder(database: str) -> Iterator[LessonRecorder]:
    with closing(LessonRecorder(database)) as recorder:
        yield recorder
