"""Bodies of requests: arrival in parts, the size limit and the timeout."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from progress.errors import BadInput
from progress.query.http import requests
from tests.support import api
from tests.support.api import Api

NOWHERE = "postgresql://nobody@/nowhere?host=/nowhere"
TYPE = b'{"query": "{ __typename }"}'
LONGEST = 100 * 1024
SCOPE = {"type": "http", "method": "POST", "headers": []}


@pytest.fixture(scope="module")
def aloof() -> Iterator[Api]:
    with api.serve(NOWHERE) as made:
        yield made


def padded(size: int) -> bytes:
    """Return a valid request of that many bytes."""
    return TYPE[:-1] + b" " * (size - len(TYPE)) + b"}"


def test_a_body_may_arrive_in_parts(aloof: Api) -> None:
    parts = [TYPE[n : n + 1] for n in range(len(TYPE))]
    for body in (parts, [TYPE], [TYPE[:5], TYPE[5:]]):
        assert aloof.request("POST", "/graphql", [*body, api.END], api.headers()).status_code == 200


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 1])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_body_has_at_most_100_kib(aloof: Api, size: int, is_told: bool) -> None:
    told = {"content-length": str(size)} if is_told else {}
    body = padded(size)
    parts = [body[:70_000], body[70_000:], api.END]
    response = aloof.request("POST", "/graphql", parts, api.headers(**told))
    assert response.status_code == (200 if size == LONGEST else 413)


@pytest.mark.parametrize("told", [{}, {"content-length": "9" * 5_000}])
def test_a_longer_body_is_not_read_to_its_end(aloof: Api, told: dict[str, str]) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield b" " * 65_536

    response = aloof.request("POST", "/graphql", endless(), api.headers(**told))
    assert response.status_code == 413
    (fault,) = api.read(response)["errors"]
    assert fault["extensions"]["code"] == "BAD_USER_INPUT"
    assert taken <= (0 if told else 2)


def test_no_body_is_read_without_a_valid_token(aloof: Api) -> None:
    parts = iter([TYPE, api.END])
    headers = {"content-type": "application/json"}
    assert aloof.request("POST", "/graphql", parts, headers).status_code == 401
    assert next(parts) == TYPE


def test_an_incomplete_body_is_rejected(aloof: Api) -> None:
    assert aloof.request("POST", "/graphql", [TYPE], api.headers()).status_code == 400


def test_a_body_that_does_not_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_BODY_TIMEOUT_S", 0.05)

    async def receive() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(BadInput, match="the whole body"):
        asyncio.run(requests.read(Request(SCOPE, receive), {}))


def test_no_timer_is_started_for_a_body_that_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "timeout", None)

    async def receive() -> Any:
        return {"type": "http.request", "body": TYPE}

    asked, _ = asyncio.run(requests.read(Request(SCOPE, receive), {}))
    assert asked.query == "{ __typename }"


@pytest.mark.parametrize("late", range(4))
def test_a_body_is_complete_whichever_part_is_late(late: int) -> None:
    parts = [TYPE[:3], b"", TYPE[3:9], TYPE[9:]]

    async def read() -> str:
        come, left = asyncio.Event(), list(enumerate(parts))

        async def receive() -> Any:  # as a server does: nothing is taken before it has come
            if left[0][0] == late:
                await come.wait()
            number, part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}

        reading = asyncio.create_task(requests.read(Request(SCOPE, receive), {}))
        await asyncio.sleep(0)
        assert not reading.done()
        come.set()
        return (await reading)[0].query

    assert asyncio.run(read()) == "{ __typename }"
