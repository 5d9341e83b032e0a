"""Each caller of Redis under each condition of it: slower, never wrong, never an error.

The erasure is the exception: it must delete the copies in Redis, and so fails without it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest

from progress.adapters.redis import async_client, blocking_client, commands
from progress.adapters.redis.async_client import Client
from progress.errors import CopiesUnavailable, RateLimited, RedisUnavailable
from progress.query.http import health
from progress.serve import ports
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Valkey

ANN = cache_instances.all_keys("ann")


class Condition(NamedTuple):
    begin: Callable[[Valkey], object]
    end: Callable[[Valkey], object]


def send(*command: str) -> Callable[[Valkey], object]:
    return lambda own: own.server().execute_command(*command)


def set_up(name: str, value: str, usual: str) -> Condition:
    return Condition(send("CONFIG", "SET", name, value), send("CONFIG", "SET", name, usual))


def permit(refused: str, allowed: str) -> Condition:
    user = ("ACL", "SETUSER", "default")
    return Condition(send(*user, refused), send(*user, allowed))


# The server answers no call, or rejects every write.
AWAY = {
    "away": Condition(Valkey.end, Valkey.start),
    "slow": Condition(Valkey.stop, Valkey.go_on),
    "a replica": Condition(send("REPLICAOF", ports.HOST, "1"), send("REPLICAOF", "NO", "ONE")),
    "too few replicas": set_up("min-replicas-to-write", "1", "0"),
}
CONDITIONS = {
    **AWAY,
    "full": set_up("maxmemory", "1", "0"),
    "no scripts": permit("-@scripting", "+@scripting"),
}
# The client raises the same error for each server that is away, which its own test takes in turn.
each_condition = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if "replica" in name else name
        for name in CONDITIONS
    ],
)


def timeout_s(name: str) -> float:
    """Return how long to wait for a reply: long, as the machine may be busy, if one ever comes."""
    return 1 if name == "slow" else 10


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0.05)
    with cache_instances.own_valkey() as valkey:
        yield valkey


WRITES = [
    commands.count("rate", "ann", 1, 1),
    commands.set_entry("query:streak:ann:1", "f00", b"1", 60_000),
]


@pytest.mark.parametrize("name", AWAY)
def test_no_caller_waits_for_a_server_that_is_away_and_each_uses_it_again(
    own: Valkey, name: str
) -> None:
    """Also if a script writes, and if a caller ignores the reply."""

    async def work() -> None:
        client = Client(own.url, timeout_s=timeout_s(name))
        await cache_instances.retry(client, *WRITES)
        CONDITIONS[name].begin(own)
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(RedisUnavailable):
                await client.run(*WRITES)
        assert time.monotonic() - began < 10 * timeout_s(name)
        CONDITIONS[name].end(own)
        assert isinstance((await cache_instances.retry(client, *WRITES))[0], int)
        await client.close()

    asyncio.run(work())


@each_condition
def test_results_are_those_of_the_database(store: Store, own: Valkey, name: str) -> None:
    with (
        cache_instances.populate(store, "ann") as connection,
        cache_instances.instances(store, own.url, 1, timeout_s=timeout_s(name)) as (instance,),
    ):
        before = instance.get(*ANN)
        CONDITIONS[name].begin(own)
        began = time.monotonic()
        for _ in range(20):
            instance.run(instance.cache.lookup("caller", ANN, at=NOW))
        assert time.monotonic() - began < 10 * timeout_s(name)
        cache_instances.fold(connection, *sample_events.lesson("ann", 4))
        newest = instance.get(*ANN)
        assert newest == instance.read(*ANN) != before
        CONDITIONS[name].end(own)
        while instance.run(health.redis_status(instance.redis)) != "ok":
            assert instance.get(*ANN) == newest
        assert instance.get(*ANN) == newest
        instance.computations = 0
        assert (instance.get(*ANN), instance.computations) == (newest, 0)


@each_condition
def test_requests_are_limited(own: Valkey, name: str) -> None:
    database = "postgresql://nobody"
    limit = timeout_s(name)
    instance = cache_instances.Instance(database, own.url, per_minute=5, timeout_s=limit)

    async def ask(caller: str, minute: int) -> None:
        """Count a request of a caller; the requests of `ben` read no cached field."""
        at = NOW + timedelta(minutes=minute)
        if caller == "ben":
            await instance.limiter.count(caller, at)
        else:
            await instance.cache.lookup(caller, (), at=at)

    def count_allowed(caller: str, minute: int) -> int:
        for number in range(20):
            try:
                instance.run(ask(caller, minute))
            except RateLimited:
                return number
        return 20

    CONDITIONS[name].begin(own)
    counts = [count_allowed("ann", 0), count_allowed("ben", 0), count_allowed("ann", 1)]
    instance.close()
    CONDITIONS[name].end(own)
    assert counts == [5, 5, 5]


@pytest.mark.parametrize("name", CONDITIONS)
def test_an_erasure_fails_until_the_copies_can_be_deleted(
    own: Valkey, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(blocking_client, "_TIMEOUT_S", timeout_s(name))
    own.server().set(commands.summary_key("ann"), "")

    def delete() -> int:
        return blocking_client.delete_keys(own.url, "ann", lambda: None)

    CONDITIONS[name].begin(own)
    if name in AWAY:
        with pytest.raises(CopiesUnavailable):
            delete()
    else:
        assert delete() == 1
    CONDITIONS[name].end(own)
    assert delete() == int(name in AWAY and name != "away")
