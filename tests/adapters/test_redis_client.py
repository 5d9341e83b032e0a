"""The query function's Redis client has short timeouts and avoids a failing server for a while."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.redis import async_client, resp
from progress.adapters.redis.async_client import Client
from progress.adapters.redis.resp import ErrorReply, Reply
from progress.adapters.redis.url import parse_url
from progress.errors import RedisUnavailable, SettingsError
from tests.support import cache_instances

T = TypeVar("T")

_lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
replies: st.SearchStrategy[Reply] = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=50) | _lines.map(ErrorReply),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=8,
)


def written(reply: Reply) -> bytes:
    """Return the reply as a Redis server encodes it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, ErrorReply):
        return b"-%b\r\n" % reply.text.encode()
    return b"*%d\r\n%b" % (len(reply), b"".join(map(written, reply)))


@given(reply=replies, more=st.binary(max_size=5))
def test_a_reply_is_read_as_soon_as_it_is_complete(reply: Reply, more: bytes) -> None:
    text = written(reply)
    assert resp.read(text + more, 0) == (reply, len(text))
    for end in range(len(text)):
        with pytest.raises(resp.Incomplete):
            resp.read(text[:end], 0)


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


@pytest.mark.parametrize("size", [0, 1, 9, 10, 511, 512, 513, 70_000])
def test_a_command_is_encoded_as_an_array_of_its_arguments(size: int) -> None:
    command = ("SET", "é" * (size // 2), b"x" * size, size)
    expected = [b"SET", ("é" * (size // 2)).encode(), b"x" * size, b"%d" % size]
    assert resp.read(resp.encode([command]), 0)[0] == expected


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


def test_a_rejected_command_does_not_fail_the_other_commands(redis_with_notifications: str) -> None:
    replies = with_client(
        redis_with_notifications, lambda c: c.run(("LPUSH", "l", "1"), ("GET", "l"), ("PING",))
    )
    assert isinstance(replies[1], ErrorReply)
    assert (replies[0], replies[2]) == (1, b"PONG")


@contextlib.contextmanager
def server(answer: bytes | None, *, after: float = 0.0) -> Iterator[str]:
    """Run a server that receives a command, waits for `after` seconds and sends `answer`.

    If `answer` is None, the server accepts no connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        while answer is not None and connection.recv(65_536):
                            time.sleep(after)
                            connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


_TIMEOUT_S = 0.1  # seconds


def is_left_alone(url: str) -> bool:
    """Return whether 20 failing round trips took less time than ten timeouts."""
    return with_client(url, cost, timeout_s=_TIMEOUT_S) < 10


async def cost(client: Client, times: int = 20) -> float:
    """Return the duration of `times` failing round trips, as a multiple of the timeout."""
    began = time.monotonic()
    for _ in range(times):
        with pytest.raises(RedisUnavailable):
            await client.run(("PING",), ("PING",))
    return (time.monotonic() - began) / _TIMEOUT_S


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="nothing"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\x00\xff" * 1_000, id="noise"),
        pytest.param(b"+PONG\r\n" * 100, id="too much"),
        pytest.param(b"$99999999999\r\nx", id="too long"),
        pytest.param(b"*1\r\n" * 20_000, id="too deep"),
        pytest.param(b":one\r\n", id="not a number"),
        pytest.param(b"x" * 70_000, id="no end"),
        pytest.param(b"-NOAUTH Authentication required.\r\n", id="no password"),
    ],
)
def test_callers_do_not_wait_again_for_a_server_with_invalid_replies(answer: bytes | None) -> None:
    with server(answer) as url:
        assert is_left_alone(url)


def test_callers_do_not_wait_while_the_client_reconnects_after_the_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0)

    async def each_attempt(client: Client) -> float:
        spent = 0.0
        for _ in range(20):
            spent += await cost(client, 1)
            while client._connecting:
                await asyncio.sleep(0.001)
        return spent

    with server(None) as url:
        assert with_client(url, each_attempt, timeout_s=_TIMEOUT_S) < 10


def test_callers_do_not_wait_again_for_a_slow_server() -> None:
    with server(b"+PONG\r\n", after=3 * _TIMEOUT_S) as url:
        assert is_left_alone(url)
        assert with_client(url, lambda c: c.run(("PING",)), timeout_s=100 * _TIMEOUT_S) == [b"PONG"]


def test_callers_do_not_wait_again_for_an_unreachable_server() -> None:
    with server(None) as url:
        pass
    assert is_left_alone(url)


def test_callers_do_not_wait_for_a_suspended_server_but_use_it_again_once_it_resumes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_client, "_BACK_OFF_S", 0.05)

    async def work(client: Client) -> None:
        await until(client)
        own.stop()
        assert await cost(client) < 10
        own.go_on()
        await until(client)
        own.end()
        await cost(client, 3)
        own.start()
        await until(client)

    with cache_instances.own_valkey() as own:
        with_client(own.url, work, timeout_s=_TIMEOUT_S)


async def until(client: Client) -> None:
    """Wait until Redis responds."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(RedisUnavailable):
                await client.run(("PING",))
                return
            await asyncio.sleep(0.001)


def test_a_url_may_contain_a_password_and_a_database_and_a_unix_socket() -> None:
    with cache_instances.own_valkey("--requirepass", "s:cret", "--unixsocket", "socket") as own:
        plain, local = own.url, f"unix://{own.folder}/socket"
        named = plain.replace("redis://", "redis://:s%3Acret@") + "/3"

        async def number(client: Client) -> Reply:
            await until(client)
            return (await client.run(("CLIENT", "INFO")))[0]

        for url in (named, f"{local}?db=3&password=s%3Acret"):
            info = with_client(url, number)
            assert isinstance(info, bytes)
            assert b" db=3 " in info
        assert is_left_alone(plain)
        assert "s:cret" not in repr(parse_url(named))


def test_a_url_sets_tls_and_the_login_and_must_have_a_valid_port() -> None:
    assert parse_url("rediss://h:7000").tls
    assert parse_url("redis://h:7000").tls is None
    assert parse_url("redis://u:p@h").handshake[0] == ("AUTH", "u", "p")
    with pytest.raises(SettingsError, match="REDIS_URL: the port"):
        parse_url("redis://h:many")
