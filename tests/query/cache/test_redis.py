"""What Redis does to the cache: it may hang, vanish, forget, fill up and talk nonsense."""

import time
from collections.abc import Iterator

import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import async_client
from progress.errors import RateLimited
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as made:
        yield made


def right(instance: Instance) -> None:
    """It answers as the database does."""
    asked = cache_instances.questions("ann")
    assert instance.ask(*asked) == instance.uncached(*asked)


def test_a_redis_that_hangs_is_waited_for_once_and_costs_no_answer(
    store: Store, connection: Connection
) -> None:
    asked, timeout_s = cache_instances.questions("ann"), 0.1
    with (
        cache_instances.valkey_of_its_own() as own,
        cache_instances.instances(store, own.url, 1, timeout_s=timeout_s) as (one,),
    ):
        one.ask(*asked)
        own.stop()
        began = time.monotonic()
        for _ in range(20):
            looked = one.run(one.cache.ask("caller", asked, at=NOW))
            assert (looked.result, set(looked.found)) == ("error", {None})
        assert time.monotonic() - began < 10 * timeout_s
        right(one)


def test_a_redis_that_comes_back_empty_is_used_again(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0)
    with (
        cache_instances.valkey_of_its_own() as own,
        cache_instances.instances(store, own.url, 1) as (one,),
    ):
        right(one)
        own.end()
        right(one)
        own.start()
        while one.run(one.cache.state()) != "ok":
            right(one)
        right(one)
        one.computed = 0
        right(one)
        assert one.computed == 0


@pytest.mark.parametrize("spoilt", [b"", b"nonsense", b"[1]\n{}", b'["a",0,0,0,0]\n1', b"\xff\n"])
def test_an_entry_that_is_none_is_no_answer(
    store: Store, connection: Connection, redis_with_notifications: str, spoilt: bytes
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (one,):
        right(one)
        for key in server.scan_iter():
            if server.type(key) == b"hash":
                for field in server.hkeys(key):
                    server.hset(key, field, spoilt)
            else:
                server.set(key, spoilt)
        right(one)


def test_keys_of_another_kind_are_no_answers(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    server = redis.Redis.from_url(redis_with_notifications)
    with cache_instances.instances(store, redis_with_notifications, 1) as (one,):
        right(one)
        for key in list(server.scan_iter()):
            server.delete(key)
            server.lpush(key, "x")
        right(one)
        append(connection, sample_events.lesson("ann", 4))
        Projector(connection, publisher=publisher()).catch_up_all()
        right(one)


def test_a_redis_that_is_full_keeps_nothing_and_the_instance_counts(
    store: Store, connection: Connection
) -> None:
    with cache_instances.valkey_of_its_own("--maxmemory", "1") as own:
        one = Instance(store.url, own.url, per_minute=3)
        for _ in range(3):
            right(one)
        with pytest.raises(RateLimited):
            right(one)
        one.close()


def test_a_hash_of_a_learner_grows_no_further_than_so(
    store: Store, connection: Connection, redis_with_notifications: str
) -> None:
    asked = cache_instances.questions("ann")[0]
    with cache_instances.instances(store, redis_with_notifications, 1) as (one,):
        for number in range(250):
            one.ask(type(asked)(asked.name, "ann", f"{number}"))
    assert 0 < redis.Redis.from_url(redis_with_notifications).hlen("summary:ann") <= 100
