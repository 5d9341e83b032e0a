"""Concurrent requests share a computation, unless it is outdated or cancelled."""

import asyncio
from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.projections.projector import Projector
from progress.query.cache.cache import ComputedAnswer
from progress.query.cache.policy import CacheKey
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as connection:
        yield connection


@pytest.fixture
def one(store: Store, connection: Connection, redis_with_notifications: str) -> Iterator[Instance]:
    with cache_instances.instances(store, redis_with_notifications, 1) as (instance,):
        yield instance


def keys() -> list[CacheKey]:
    return [key for key in cache_instances.all_keys("ann") if key.name in ("dailyStats", "streak")]


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_a_hundred_concurrent_requests_share_one_statement(one: Instance, key: CacheKey) -> None:
    async def hundred() -> list[list[bytes]]:
        return await asyncio.gather(*(one.get_async(key) for _ in range(100)))

    answers = one.run(hundred())
    assert all(answer == answers[0] for answer in answers)
    assert one.computations == 1
    # one statement reads the result; the other two read versions
    assert len(one.reader.statements) == len(set(one.reader.statements)) == 3


def test_requests_share_a_computation_without_redis(store: Store, connection: Connection) -> None:
    (key, *_) = keys()
    with cache_instances.instances(store, None, 1) as (one,):

        async def hundred() -> None:
            await asyncio.gather(*(one.get_async(key) for _ in range(100)))

        one.run(hundred())
        assert one.computations == len(one.reader.statements) == 1


class Slow:
    """A computation that ends when the test sets `end`."""

    def __init__(self, one: Instance, key: CacheKey, error: Exception | None = None) -> None:
        self._one, self._key, self._error = one, key, error
        self.running, self.end = asyncio.Event(), asyncio.Event()

    async def compute(self) -> ComputedAnswer:
        self._one.computations += 1
        data = await cache_instances.read(self._one.queries, self._key, NOW)
        self.running.set()
        await self.end.wait()
        if self._error:
            raise self._error
        return ComputedAnswer(data)

    async def get(self) -> bytes:
        cache = self._one.cache
        lookup = await cache.lookup("caller", [self._key], at=NOW)
        return lookup.answers[0] or await cache.get_or_compute(lookup, self._key, self.compute)


def test_a_request_that_has_seen_a_newer_version_does_not_share_an_older_result(
    one: Instance, connection: Connection
) -> None:
    (key, *_) = keys()

    async def overtaking() -> None:
        slow, quick = Slow(one, key), Slow(one, key)
        quick.end.set()
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        append(connection, sample_events.lesson("ann", 4))
        Projector(connection, publisher=publisher()).catch_up_all()
        lookups = [await one.cache.lookup("caller", [key], at=NOW) for _ in range(10)]
        later = [
            asyncio.create_task(one.cache.get_or_compute(lookup, key, quick.compute))
            for lookup in lookups
        ]
        await asyncio.sleep(0)  # now all later requests wait for the first computation
        slow.end.set()
        expected = await cache_instances.read(one.queries, key, NOW)
        assert await first != expected
        assert await asyncio.gather(*later) == [expected] * 10
        assert one.computations == 2
        assert await one.get_async(key) == [expected]

    one.run(overtaking())


def test_a_cancelled_request_does_not_cancel_other_requests(one: Instance) -> None:
    (key, *_) = keys()

    async def cancel() -> None:
        slow = Slow(one, key)
        first, *others = [asyncio.create_task(slow.get()) for _ in range(10)]
        await slow.running.wait()
        first.cancel()
        others.pop().cancel()
        slow.end.set()
        answers = await asyncio.gather(*others)
        assert set(answers) == {await cache_instances.read(one.queries, key, NOW)}
        assert one.computations == 2  # one of the other requests computes the result for all
        assert await one.get_async(key) == [answers[0]]
        assert one.computations == 2

    one.run(cancel())


def test_the_next_request_computes_the_result_if_all_waiting_requests_were_cancelled(
    one: Instance,
) -> None:
    (key, *_) = keys()

    async def cancel() -> None:
        slow = Slow(one, key)
        tasks = [asyncio.create_task(slow.get()) for _ in range(3)]
        await slow.running.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert await one.get_async(key) == [await cache_instances.read(one.queries, key, NOW)]
        assert one.computations == 2

    one.run(cancel())


def test_an_error_fails_all_waiting_requests_and_is_not_cached(one: Instance) -> None:
    (key, *_) = keys()

    async def failing() -> None:
        slow = Slow(one, key, DatabaseUnavailable("gone"))
        waiting = [asyncio.create_task(slow.get()) for _ in range(5)]
        await slow.running.wait()
        slow.end.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 5
        assert one.computations == 1
        assert await one.get_async(key) == [await cache_instances.read(one.queries, key, NOW)]

    one.run(failing())


def test_a_request_that_bypasses_the_cache_does_not_share_a_computation(one: Instance) -> None:
    (key, *_) = keys()

    async def bypass() -> None:
        slow = Slow(one, key)
        first = asyncio.create_task(slow.get())
        await slow.running.wait()
        assert await one.get_async(key, bypass=True) == [
            await cache_instances.read(one.queries, key, NOW)
        ]
        assert not first.done()
        slow.end.set()
        await first

    one.run(bypass())
