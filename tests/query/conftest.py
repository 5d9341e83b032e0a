"""The query function that several test modules call."""

from collections.abc import Iterator

import pytest

from tests.conftest import Store
from tests.support import api
from tests.support.api import Api


@pytest.fixture
def query_api(store: Store) -> Iterator[Api]:
    """A query function over the store."""
    with api.serve(store.url) as made:
        yield made
