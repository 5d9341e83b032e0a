"""The query function that several test modules call."""

from collections.abc import Iterator

import pytest

from tests.conftest import Store
from tests.support import api
from tests.support.api import Api
from tests.support.postgres_servers import url_of


@pytest.fixture
def query_api(store: Store) -> Iterator[Api]:
    with api.serve(url_of(store.url, "query")) as made:
        yield made


@pytest.fixture(scope="module")
def offline_api() -> Iterator[Api]:
    """An API without a database: a query for data that nothing else rejects gets UNAVAILABLE."""
    with api.serve(api.NOWHERE) as made:
        yield made
