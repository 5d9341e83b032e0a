"""Concurrent requests share a computation; results stay right while Redis fails."""

import asyncio
import time
from collections.abc import Iterator

import msgspec
import pytest
import redis

from progress.adapters.postgres.database import Connection
from progress.adapters.redis import async_client
from progress.errors import DatabaseUnavailable, RateLimited
from progress.query.cache.cache import ComputedAnswer
from progress.query.cache.policy import CacheKey
from progress.query.http import app
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance, fold

ANN = cache_instances.all_keys("ann")
KEYS = [key for key in ANN if key.name in ("dailyStats", "streak")]
KEY = KEYS[0]


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as connection:
        yield connection


@pytest.fixture
def one(store: Store, connection: Connection, redis_with_notifications: str) -> Iterator[Instance]:
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        yield instance


@pytest.fixture
def server(redis_with_notifications: str) -> "redis.Redis":
    return redis.Redis.from_url(redis_with_notifications)


async def read(one: Instance) -> bytes:
    """Return the result for KEY from the database."""
    return await cache_instances.read(one.queries, KEY, NOW)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_hundred_concurrent_requests_share_one_statement(one: Instance, key: CacheKey) -> None:
    async def hundred() -> list[list[bytes]]:
        return await asyncio.gather(*(one.get_async(key) for _ in range(100)))

    answers = one.run(hundred())
    assert all(answer == answers[0] for answer in answers)
    assert one.computations == 1
    # one statement reads the result; the other two read versions
    assert len(one.reader.statements) == len(set(one.reader.statements)) == 3


def test_requests_share_a_computation_without_redis(store: Store, connection: Connection) -> None:
    with cache_instances.instances(store, None, 1) as (one,):

        async def hundred() -> None:
            await asyncio.gather(*(one.get_async(KEY) for _ in range(100)))

        one.run(hundred())
        assert one.computations == len(one.reader.statements) == 1


class Slow:
    """A computation that ends when the test sets `end`."""

    def __init__(self, one: Instance, error: Exception | None = None) -> None:
        self._one, self._error = one, error
        self.running, self.end = asyncio.Event(), asyncio.Event()

    async def compute(self) -> ComputedAnswer:
        self._one.computations += 1
        data = await read(self._one)
        self.running.set()
        await self.end.wait()
        if self._error:
            raise self._error
        return ComputedAnswer(data)

    async def get(self) -> bytes:
        cache = self._one.cache
        lookup = await cache.lookup("caller", [KEY], at=NOW)
        return lookup.answers[0] or await cache.get_or_compute(lookup, KEY, self.compute)


def test_a_request_that_has_seen_a_newer_version_does_not_share_an_older_result(
    one: Instance, connection: Connection
) -> None:
    async def overtaking() -> None:
        slow, quick = Slow(one), Slow(one)
        quick.end.set()
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        fold(connection, *sample_events.lesson("ann", 4))
        lookups = [await one.cache.lookup("caller", [KEY], at=NOW) for _ in range(10)]
        later = [
            asyncio.create_task(one.cache.get_or_compute(lookup, KEY, quick.compute))
            for lookup in lookups
        ]
        await asyncio.sleep(0)  # now all later requests wait for the first computation
        slow.end.set()
        expected = await read(one)
        assert await first != expected
        assert await asyncio.gather(*later) == [expected] * 10
        assert one.computations == 2
        assert await one.get_async(KEY) == [expected]

    one.run(overtaking())


def test_a_cancelled_request_does_not_cancel_other_requests(one: Instance) -> None:
    async def cancel() -> None:
        slow = Slow(one)
        first, *others = [asyncio.create_task(slow.get()) for _ in range(10)]
        await slow.running.wait()
        first.cancel()
        others.pop().cancel()
        slow.end.set()
        answers = await asyncio.gather(*others)
        assert set(answers) == {await read(one)}
        assert one.computations == 2  # one of the other requests computes the result for all
        assert await one.get_async(KEY) == [answers[0]]
        assert one.computations == 2

    one.run(cancel())


def test_the_next_request_computes_the_result_if_all_waiting_requests_were_cancelled(
    one: Instance,
) -> None:
    async def cancel() -> None:
        slow = Slow(one)
        tasks = [asyncio.create_task(slow.get()) for _ in range(3)]
        await slow.running.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert await one.get_async(KEY) == [await read(one)]
        assert one.computations == 2

    one.run(cancel())


def test_an_error_fails_all_waiting_requests_and_is_not_cached(one: Instance) -> None:
    async def failing() -> None:
        slow = Slow(one, DatabaseUnavailable("gone"))
        waiting = [asyncio.create_task(slow.get()) for _ in range(5)]
        await slow.running.wait()
        slow.end.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 5
        assert one.computations == 1
        assert await one.get_async(KEY) == [await read(one)]

    one.run(failing())


def test_a_request_that_bypasses_the_cache_does_not_share_a_computation(one: Instance) -> None:
    async def bypass() -> None:
        slow = Slow(one)
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        assert await one.get_async(KEY, bypass=True) == [await read(one)]
        assert not first.done()
        slow.end.set()
        await first

    one.run(bypass())


def check_answers(instance: Instance) -> None:
    """Assert that the instance returns the results of the database."""
    assert instance.get(*ANN) == instance.read(*ANN)


def test_only_one_request_waits_for_a_hanging_redis_and_all_requests_succeed(
    store: Store, connection: Connection
) -> None:
    timeout = 0.1
    with (
        cache_instances.own_valkey() as own,
        cache_instances.instances(store, own.url, 1, timeout_s=timeout) as (instance,),
    ):
        instance.get(*ANN)
        own.stop()
        began = time.monotonic()
        for _ in range(20):
            lookup = instance.run(instance.cache.lookup("caller", ANN, at=NOW))
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
        while instance.run(app.redis_status(instance.redis)) != "ok":
            check_answers(instance)
        check_answers(instance)
        instance.computations = 0
        check_answers(instance)
        assert instance.computations == 0


@pytest.mark.parametrize(
    "malformed", [b"", b"nonsense", b"[1]\n{}", b'["a",0,0,0,0]\n1', b"\xff\n"]
)
def test_a_malformed_entry_is_a_miss(
    one: Instance, server: "redis.Redis", malformed: bytes
) -> None:
    check_answers(one)
    for key in server.scan_iter():
        if server.type(key) == b"hash":
            for field in server.hkeys(key):
                server.hset(key, field, malformed)
        else:
            server.set(key, malformed)
    check_answers(one)


def test_keys_of_an_unexpected_type_are_misses(
    one: Instance, connection: Connection, server: "redis.Redis"
) -> None:
    check_answers(one)
    for key in list(server.scan_iter()):
        server.delete(key)
        server.lpush(key, "x")
    check_answers(one)
    fold(connection, *sample_events.lesson("ann", 4))
    check_answers(one)


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
    one: Instance, server: "redis.Redis"
) -> None:
    key = ANN[0]
    for number in range(250):
        one.get(msgspec.structs.replace(key, params=f"{number}"))
    assert 0 < server.hlen("summary:ann") <= 100
