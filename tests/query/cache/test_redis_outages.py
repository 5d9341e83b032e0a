"""Results are correct when Redis hangs, crashes, loses data, is full, or has malformed entries."""

import time
from collections.abc import Iterator

import msgspec
import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import async_client
from progress.errors import RateLimited
from progress.projections.projector import Projector
from progress.query.http import readiness
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as connection:
        yield connection


def check_answers(instance: Instance) -> None:
    """Assert that the instance returns the results of the database."""
    keys = cache_instances.all_keys("ann")
    assert instance.get(*keys) == instance.read(*keys)


def test_only_one_request_waits_for_a_hanging_redis_and_all_requests_succeed(
    store: Store, connection: Connection
) -> None:
    keys, timeout = cache_instances.all_keys("ann"), 0.1
    with (
        cache_instances.own_valkey() as own,
        cache_instances.instances(store, own.url, 1, timeout_s=timeout) as (instance,),
    ):
        instance.get(*keys)
        own.stop()
        began = time.monotonic()
        for _ in range(20):
            lookup = instance.run(instance.cache.lookup("caller", keys, at=NOW))
            assert (lookup.result, set(lookup.answers)) == ("error", {None})
        assert time.monotonic() - began < 10 * timeout
        check_answers(instance)


def test_redis_is_used_again_after_it_restarts_without_data(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0)
    with (
        cache_instances.own_valkey() as own,
        cache_instances.instances(store, own.url, 1) as (instance,),
    ):
        check_answers(instance)
        own.end()
        check_answers(instance)
        own.start()
        while instance.run(readiness.redis_status(instance.redis)) != "ok":
            check_answers(instance)
        check_answers(instance)
        instance.computations = 0
        check_answers(instance)
        assert instance.computations == 0


@pytest.mark.parametrize(
    "malformed", [b"", b"nonsense", b"[1]\n{}", b'["a",0,0,0,0]\n1', b"\xff\n"]
)
def test_a_malformed_entry_is_a_miss(
    store: Store, connection: Connection, redis_with_notifications: str, malformed: bytes
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        check_answers(instance)
        for key in server.scan_iter():
            if server.type(key) == b"hash":
                for field in server.hkeys(key):
                    server.hset(key, field, malformed)
            else:
                server.set(key, malformed)
        check_answers(instance)


def test_keys_of_an_unexpected_type_are_misses(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        check_answers(instance)
        for key in list(server.scan_iter()):
            server.delete(key)
            server.lpush(key, "x")
        check_answers(instance)
        append(connection, sample_events.lesson("ann", 4))
        Projector(connection, publisher=publisher()).catch_up_all()
        check_answers(instance)


def test_results_are_computed_and_requests_are_limited_if_redis_is_full(
    store: Store, connection: Connection
) -> None:
    with cache_instances.own_valkey("--maxmemory", "1") as own:
        instance = Instance(store.url, own.url, per_minute=3)
        for _ in range(3):
            check_answers(instance)
        with pytest.raises(RateLimited):
            check_answers(instance)
        instance.close()


def test_the_redis_hash_of_a_learner_has_at_most_a_hundred_fields(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    key = cache_instances.all_keys("ann")[0]
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        for number in range(250):
            instance.get(msgspec.structs.replace(key, params=f"{number}"))
    assert 0 < redis.Redis.from_url(redis_with_notifications).hlen("summary:ann") <= 100
