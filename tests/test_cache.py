"""The cache: hits, and never an answer older than the projection."""

from collections.abc import Iterator

import caching
import lessons
import pytest
import redis
from conftest import Store
from stage import connect

from progress import batch
from progress.database import Connection
from progress.projections import SHARDS, Projector


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    made = connect(store.url)
    yield made
    made.close()


@pytest.fixture
def empty(valkey: str) -> str:
    """A Redis that holds nothing."""
    redis.Redis.from_url(valkey).flushall()
    return valkey


def test_what_was_answered_once_is_answered_from_the_cache_by_every_instance(
    store: Store, connection: Connection, empty: str
) -> None:
    lessons.teach(connection, "ann")
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    with caching.instances(store, empty) as (one, other):
        asked = caching.questions("ann")
        first = one.ask(*asked)
        assert first == one.uncached(*asked)
        assert one.computed == len(asked)
        assert one.ask(*asked) == other.ask(*asked) == first
        assert (one.computed, other.computed) == (len(asked), 0)
