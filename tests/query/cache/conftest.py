"""A store with folded events, for the tests of the cache."""

from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import SHARDS
from tests.conftest import Store
from tests.support import cache_instances


@pytest.fixture
def populated(store: Store) -> Iterator[Connection]:
    """A connection to a store with folded events of ann and ben."""
    with cache_instances.populate(store, "ann", "ben") as connection:
        batch.fold(connection, list(SHARDS))
        yield connection
