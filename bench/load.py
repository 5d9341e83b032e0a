"""`python -m bench.load PORT REQUESTS AT_ONCE EVENTS SEED`: pushes, as fast as they are taken.

A process of its own, of little cost: one keep-alive connection for each request that is under
way, its requests made beforehand. Prints the seconds that it took.
"""

import asyncio
import itertools
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop

from bench import envelopes

HOST = "127.0.0.1"
_LENGTH = b"content-length:"


def pushes(events: int, seed: int) -> Iterator[bytes]:
    """HTTP requests as Pub/Sub makes them, each with a message of so many events."""
    source = envelopes.endless(seed)
    for number in itertools.count():
        batch = list(itertools.islice(source, events))
        data = msgspec.json.encode(batch if events > 1 else batch[0])
        yield post(
            {
                "message": {
                    "data": b64encode(data).decode(),
                    "messageId": f"{seed}-{number}",
                    "publishTime": "2025-06-01T12:00:00Z",
                },
                "subscription": "projects/bench/subscriptions/learning-events-push",
            }
        )


def post(body: object, path: str = "/", *headers: str) -> bytes:
    """A POST of this as JSON, on a connection that is kept."""
    encoded = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/json",
        f"Content-Length: {len(encoded)}",
        *headers,
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + encoded


class _Client(asyncio.Protocol):
    """One connection: the next request goes out when the last is answered."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done, self._received = requests, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < length(head):
            return
        if not head.startswith(b"HTTP/1.1 2") or b'"errors"' in body:
            self._fail(RuntimeError(f"answered: {self._received!r}"))
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the connection was closed"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self._done.done():
            self._done.set_result(None)

    def _fail(self, why: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(why)


def length(head: bytes) -> int:
    """Bytes of the body that the head of an answer announces."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    return 0


async def run(port: int, requests: list[bytes], at_once: int) -> float:
    """Seconds until all are answered; RuntimeError if one is refused."""
    loop = asyncio.get_running_loop()
    waiting, done = iter(requests), [loop.create_future() for _ in range(at_once)]
    begin = time.perf_counter()
    for each in done:
        await loop.create_connection(lambda each=each: _Client(waiting, each), HOST, port)  # type: ignore[misc]
    await asyncio.gather(*done)
    return time.perf_counter() - begin


def main() -> None:
    port, count, at_once, events, seed = map(int, sys.argv[1:])
    requests = list(itertools.islice(pushes(events, seed), count))
    sys.stdout.write(f"{uvloop.run(run(port, requests, at_once))}\n")


if __name__ == "__main__":
    main()
