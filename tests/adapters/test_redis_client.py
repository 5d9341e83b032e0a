"""The Redis client has short timeouts, and never reads the reply to another command.

It avoids a failing server for a while. An erasure finds the keys about a learner by the whole id.
"""

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.redis import async_client, blocking_client, commands
from progress.adapters.redis.async_client import BatchedConnection, Client
from progress.adapters.redis.commands import Reply
from progress.adapters.redis.url import parse_url
from progress.errors import RedisUnavailable, SettingsError
from progress.query import rate_limits
from progress.query.rate_limits import Counted
from progress.serve.data_folder import DataFolder
from progress.serve.laptop import valkey
from tests.support import cache_instances
from tests.support.cache_instances import ANSWERS, serve

T = TypeVar("T")


@pytest.fixture
def own() -> Iterator[cache_instances.Valkey]:
    with cache_instances.own_valkey() as valkey:
        yield valkey


def with_client(
    url: str, work: Callable[[Client], Awaitable[T]], *, timeout_s: float | None = None
) -> T:
    async def worked() -> T:
        client = Client(url, timeout_s=timeout_s)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(worked())


@given(command=st.lists(st.text() | st.binary() | st.integers(), min_size=1, max_size=20))
@example(command=["é" * 70_000, b"x" * 70_000, 7])
def test_arguments_arrive_unchanged(empty_redis: str, command: list[str | bytes | int]) -> None:
    async def work(client: Client) -> list[Reply]:
        return await client.run(("DEL", "l"), ("RPUSH", "l", *command), ("LRANGE", "l", 0, -1))

    _, count, arguments = with_client(empty_redis, work, timeout_s=10)
    assert count == len(command)
    assert arguments == [
        argument if isinstance(argument, bytes) else str(argument).encode() for argument in command
    ]


def test_concurrent_callers_share_a_connection_and_get_their_own_replies(empty_redis: str) -> None:
    async def work(client: Client) -> None:
        async def one(number: int) -> None:
            value = b"%d" % number * number
            # some callers are cancelled
            async with asyncio.timeout(0.001 if number % 10 == 0 else None):
                replies = await client.run(("SET", f"k{number}", value), ("GET", f"k{number}"))
            assert replies == [b"OK", value]

        (first_id,) = await client.run(("CLIENT", "ID"))
        done = await asyncio.gather(*map(one, range(500)), return_exceptions=True)
        assert {type(result) for result in done} <= {type(None), TimeoutError}
        assert [number for number, result in enumerate(done) if result and number % 10] == []
        assert await client.run(("ECHO", "still in step")) == [b"still in step"]
        (connections,) = await client.run(("CLIENT", "LIST"))
        assert isinstance(connections, bytes)
        assert isinstance(first_id, int)
        # connections with lower ids belong to tests that ran before
        ids = [int(number) for number in re.findall(rb"\bid=(\d+)", connections)]
        assert [number for number in ids if number >= first_id] == [first_id]

    with_client(empty_redis, work, timeout_s=10)


def test_a_rejected_command_does_not_fail_the_other_commands(patient_redis: str) -> None:
    written = (("LPUSH", "l", "1"), ("GET", "l"), commands.ping(), ("DEL", "l"))
    first, rejected, last, _ = with_client(patient_redis, lambda client: client.run(*written))
    assert isinstance(rejected, Exception)
    assert (first, last) == (1, b"PONG")


_TIMEOUT_S = 0.1  # seconds


def is_left_alone(url: str) -> bool:
    return with_client(url, count_waits, timeout_s=_TIMEOUT_S) < 10


async def count_waits(client: Client, times: int = 20) -> int:
    """Return how many of `times` failing round trips take as long as the timeout."""
    waits = 0
    for _ in range(times):
        began = time.monotonic()
        with pytest.raises(RedisUnavailable):
            await client.run(commands.ping(), commands.ping())
        waits += time.monotonic() - began > _TIMEOUT_S / 2
    return waits


INVALID = [
    *ANSWERS,
    pytest.param(b"+PONG\r\n" * 100, id="too much"),
    pytest.param(b"-ERR unknown command 'PING'\r\n", id="rejection"),
]


@pytest.mark.parametrize("answer", INVALID)
def test_callers_do_not_wait_again_for_a_server_with_invalid_replies(answer: bytes | None) -> None:
    with serve(answer) as url:
        assert is_left_alone(url)


def test_callers_do_not_wait_while_the_client_reconnects_after_the_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0)

    async def each_attempt(client: Client) -> int:
        waits = 0
        for _ in range(20):
            waits += await count_waits(client, 1)
            while client._connecting:
                await asyncio.sleep(0.001)
        return waits

    with serve(None) as url:
        assert with_client(url, each_attempt, timeout_s=_TIMEOUT_S) < 10


def test_a_server_that_hangs_after_a_pause_is_noticed_while_callers_keep_coming(
    own: cache_instances.Valkey,
) -> None:
    async def work(client: Client) -> None:
        await cache_instances.retry(client, commands.ping())
        await asyncio.sleep(3 * _TIMEOUT_S)  # the watchdog has seen that no reply is missing
        own.stop()
        try:
            calls = [asyncio.ensure_future(client.run(commands.ping()))]
            async with asyncio.timeout(60):
                while not calls[0].done():
                    calls.append(asyncio.ensure_future(client.run(commands.ping())))
                    await asyncio.sleep(0.001)
                results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {RedisUnavailable}
        finally:
            own.go_on()

    with_client(own.url, work, timeout_s=_TIMEOUT_S)


def test_a_connection_is_released_although_the_server_does_not_read(
    own: cache_instances.Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, its socket and the commands that were not sent would stay."""
    monkeypatch.setattr(async_client, "_CLOSE_TIMEOUT_S", _TIMEOUT_S)

    async def work() -> None:
        connection = await BatchedConnection.open(parse_url(own.url), _TIMEOUT_S)
        own.stop()
        try:
            with pytest.raises(RedisUnavailable):
                await connection.run([("ECHO", b"x" * (50 << 20))])
            await connection.wait_until_closed()
            await asyncio.sleep(0)  # the transport closes its socket in the next round of the loop
            peers = [each.raddr[1:] for each in psutil.Process().net_connections()]
            assert (parse_url(own.url).port,) not in peers
        finally:
            own.go_on()

    asyncio.run(work())


def test_a_url_may_contain_a_password_and_a_database_and_a_unix_socket() -> None:
    with cache_instances.own_valkey("--requirepass", "s:cret", "--unixsocket", "socket") as own:
        plain, local = own.url, f"unix://{own.folder}/socket"
        named = plain.replace("redis://", "redis://:s%3Acret@") + "/3"

        async def number(client: Client) -> Reply:
            return (await cache_instances.retry(client, ("CLIENT", "INFO")))[0]

        for url in (named, f"{local}?db=3&password=s%3Acret"):
            info = with_client(url, number)
            assert isinstance(info, bytes)
            assert b" db=3 " in info
        assert is_left_alone(plain)
        assert "s:cret" not in repr(parse_url(named))


def test_a_url_sets_tls_the_port_and_the_login_and_hides_a_database_that_is_none() -> None:
    assert parse_url("rediss://h:7000").tls
    assert parse_url("redis://h:7000").tls is None
    assert (parse_url("redis://h:7000").port, parse_url("redis://h").port) == (7_000, 6_379)
    address = parse_url("redis://u:p@h/7")
    assert (address.user, address.password, address.database) == ("u", "p", 7)
    with pytest.raises(SettingsError, match="REDIS_URL: the database") as error:
        parse_url("redis://u:1/hush@h")
    assert "hush" not in str(error.value)


COUNTED = [each for each in vars(rate_limits).values() if isinstance(each, Counted)]
# Ids that are prefixes, parts and patterns of each other's keys.
IDS = st.sampled_from(
    ["7", "77", "7:7", ":7", "learner", "learner:7", "summary", "a:b", "*", "[7]"]
) | st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable())
KEYS: list[Callable[[str], str]] = [
    commands.summary_key,
    lambda user_id: commands.query_key("streak", user_id, "f00"),
    lambda user_id: commands.period_key("week", "2024-04-01", user_id),
    functools.partial(commands.count_key, "poster"),
    *(functools.partial(commands.count_key, each.key) for each in COUNTED),
]
SHARED = [*(commands.count_key(each.key, "") for each in COUNTED), "7", "summary", ""]


@given(ids=st.lists(IDS, unique=True, min_size=2, max_size=8))
def test_only_the_keys_of_the_learner_are_deleted(valkey: str, ids: list[str]) -> None:
    erased, *others = ids
    client: Any
    with contextlib.closing(redis.Redis.from_url(valkey)) as client:
        client.flushall()
        for key in [*SHARED[:-1], *(key(user_id) for key in KEYS for user_id in ids)]:
            client.set(key, erased)
        deleted = blocking_client.delete_keys(valkey, erased, lambda: None)
        left = {key.decode() for key in client.scan_iter()}
    assert left == {*SHARED[:-1], *(key(user_id) for key in KEYS for user_id in others)}
    assert deleted == len(KEYS)


DAY_S = 24 * 3_600


def test_a_counter_counts_in_its_newest_window_and_lives_for_two_days_from_its_beginning(
    empty_redis: str,
) -> None:
    def count(window: int, number: int) -> int:
        counted: int = client.execute_command(*commands.count("rate", "ann", window, number))
        return counted

    client: Any
    with contextlib.closing(redis.Redis.from_url(empty_redis)) as client:
        assert [count(9, 2), count(9, 3), count(9, -1)] == [2, 5, 4]
        (key,) = client.scan_iter()
        assert 2 * DAY_S - 60 < client.ttl(key) <= 2 * DAY_S
        client.expire(key, DAY_S)
        assert [count(9, 1), client.ttl(key) <= DAY_S] == [5, True]
        assert [count(10, 1), client.ttl(key) > DAY_S] == [1, True]
        assert [count(9, 2), count(9, -2), count(8, -9)] == [3, 3, 3]  # late
        assert [count(12, 7), count(10, 1)] == [7, 1]  # a clock was wrong
        assert list(client.scan_iter()) == [key]


def test_what_limits_callers_outlives_what_callers_fill_the_memory_with(tmp_path: Path) -> None:
    command = [*valkey.describe(DataFolder(tmp_path), 0).command]
    options = command[command.index("--maxmemory") :]
    client: Any
    with (
        cache_instances.own_valkey(*map(str, options), "--maxmemory", "4mb") as own,
        contextlib.closing(own.server()) as client,
        client.pipeline(transaction=False) as sent,
    ):
        for each in COUNTED:
            sent.execute_command(*commands.count(each.key, "ann", 20_000, 1))
        sent.execute_command(*commands.mark_poster("ann", 20_000))
        sent.execute()
        limits = {*client.scan_iter()}
        assert len(limits) == len(COUNTED) + 1
        for n in range(4_000):
            key, field = commands.period_key("week", "2024-04-01", f"{n}"), "f" if n % 2 else None
            sent.execute_command(*commands.set_entry(key, field, b"x" * 4_000, DAY_S * 1_000))
        sent.execute()
        assert 100 < client.dbsize() < 2_000
        assert limits <= {*client.scan_iter()}
