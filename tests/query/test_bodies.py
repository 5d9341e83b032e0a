"""Request bodies: arrival in parts, the size limit and the timeout."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from starlette.requests import Request

from progress.errors import BadInput
from progress.query.http import protocol
from tests.support import api
from tests.support.api import Api

BODY = b'{"query": "{ __typename }"}'
MAX_BYTES = 100 * 1024
SCOPE = {"type": "http", "method": "POST", "headers": []}


def padded(size: int) -> bytes:
    """Return a valid request body of `size` bytes."""
    return BODY[:-1] + b" " * (size - len(BODY)) + b"}"


def test_a_body_that_arrives_in_parts_is_accepted(offline_api: Api) -> None:
    parts = [BODY[n : n + 1] for n in range(len(BODY))]
    for body in (parts, [BODY], [BODY[:5], BODY[5:]]):
        assert (
            offline_api.request("POST", "/graphql", [*body, api.END], api.headers()).status_code
            == 200
        )


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1])
@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_of_more_than_100_kib_is_rejected(
    offline_api: Api, size: int, has_length: bool
) -> None:
    headers = {"content-length": str(size)} if has_length else {}
    body = padded(size)
    parts = [body[:70_000], body[70_000:], api.END]
    response = offline_api.request("POST", "/graphql", parts, api.headers(**headers))
    assert response.status_code == (200 if size == MAX_BYTES else 413)


@pytest.mark.parametrize("headers", [{}, {"content-length": "9" * 5_000}])
def test_a_body_that_is_too_long_is_not_read_to_its_end(
    offline_api: Api, headers: dict[str, str]
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b" " * 65_536

    response = offline_api.request("POST", "/graphql", endless(), api.headers(**headers))
    assert response.status_code == 413
    (error,) = api.read(response)["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert sent <= (0 if headers else 2)


def test_a_body_is_not_read_without_a_valid_token(offline_api: Api) -> None:
    parts = iter([BODY, api.END])
    headers = {"content-type": "application/json"}
    assert offline_api.request("POST", "/graphql", parts, headers).status_code == 401
    assert next(parts) == BODY


def test_an_incomplete_body_is_rejected(offline_api: Api) -> None:
    assert offline_api.request("POST", "/graphql", [BODY], api.headers()).status_code == 400


def test_a_body_that_does_not_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_BODY_TIMEOUT_S", 0.05)

    async def receive() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(BadInput, match="the whole body"):
        asyncio.run(protocol.read(Request(SCOPE, receive), {}))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_body_that_arrives_while_the_process_is_stalled_is_accepted(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Coroutine[Any, Any, str]], str]
) -> None:
    """The process must not reject a body that arrived before the timeout.

    The functions use uvloop. After a stall, uvloop runs expired timers before it reads the socket.
    """
    monkeypatch.setattr(protocol, "_BODY_TIMEOUT_S", 0.05)
    client, server = socket.socketpair()

    async def read() -> str:
        reader, writer = await asyncio.open_connection(sock=server)

        async def receive() -> Any:
            return {"type": "http.request", "body": await reader.readexactly(len(BODY))}

        reading = asyncio.create_task(protocol.read(Request(SCOPE, receive), {}))
        await asyncio.sleep(0)
        client.sendall(BODY)
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        with contextlib.closing(writer):
            return (await reading)[0].query

    with client:
        assert run(read()) == "{ __typename }"


def test_a_timer_is_not_started_for_a_body_that_has_already_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asyncio, "wait", None)

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY}

    request, _ = asyncio.run(protocol.read(Request(SCOPE, receive), {}))
    assert request.query == "{ __typename }"


@pytest.mark.parametrize("late", range(4))
def test_a_body_is_read_completely_whichever_part_is_late(late: int) -> None:
    parts = [BODY[:3], b"", BODY[3:9], BODY[9:]]

    async def read() -> str:
        come, left = asyncio.Event(), list(enumerate(parts))

        async def receive() -> Any:  # like a server, wait until the client has sent the part
            if left[0][0] == late:
                await come.wait()
            number, part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}

        reading = asyncio.create_task(protocol.read(Request(SCOPE, receive), {}))
        await asyncio.sleep(0)
        assert not reading.done()
        come.set()
        return (await reading)[0].query

    assert asyncio.run(read()) == "{ __typename }"
