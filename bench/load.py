"""Send pushes at full speed: `python -m bench.load PORT REQUESTS AT_ONCE EVENTS SEED`.

The client is a separate process and uses little CPU time, because it creates the requests
beforehand. Each concurrent request has a keep-alive connection. The client prints the seconds until
the last response.
"""

import asyncio
import functools
import itertools
import sys
import time
from base64 import b64encode
from collections.abc import Iterator

import msgspec
import uvloop

from bench import envelopes
from bench.client_protocol import ClientProtocol

HOST = "127.0.0.1"
_LENGTH = b"content-length:"


def pushes(events: int, seed: int) -> Iterator[bytes]:
    """Yield push requests in Pub/Sub's format, each with a message of `events` events."""
    source = envelopes.endless(seed)
    for number in itertools.count():
        batch = list(itertools.islice(source, events))
        data = msgspec.json.encode(batch if events > 1 else batch[0])
        yield encode_post(
            {
                "message": {
                    "data": b64encode(data).decode(),
                    "messageId": f"{seed}-{number}",
                    "publishTime": "2025-06-01T12:00:00Z",
                },
                "subscription": "projects/bench/subscriptions/learning-events-push",
            }
        )


def encode_post(body: object, path: str = "/", *headers: str) -> bytes:
    """Return a POST request with a JSON body, for a keep-alive connection."""
    encoded = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        "Content-Type: application/json",
        f"Content-Length: {len(encoded)}",
        *headers,
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + encoded


class _Client(ClientProtocol):
    """A connection that sends the next request after each response."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done, self._received = requests, done, b""

    def start(self) -> None:
        self._send()

    def receive(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 2") or b'"errors"' in body:
            self.fail(RuntimeError(f"unexpected response: {self._received!r}"))
        self._received = b""
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self.transport.write(request)
        elif not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def content_length(head: bytes) -> int:
    """Return the Content-Length of a response, or 0 if the header is missing."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    return 0


async def run(port: int, requests: list[bytes], at_once: int) -> float:
    """Return the seconds until the last response. Raise RuntimeError if a request is rejected."""
    loop = asyncio.get_running_loop()
    waiting, done = iter(requests), [loop.create_future() for _ in range(at_once)]
    begin = time.perf_counter()
    for future in done:
        await loop.create_connection(functools.partial(_Client, waiting, future), HOST, port)
    await asyncio.gather(*done)
    return time.perf_counter() - begin


def main() -> None:
    port, count, at_once, events, seed = map(int, sys.argv[1:])
    requests = list(itertools.islice(pushes(events, seed), count))
    sys.stdout.write(f"{uvloop.run(run(port, requests, at_once))}\n")


if __name__ == "__main__":
    main()
