"""Send a batch of requests at full speed from a separate process, and measure how long it takes.

Each response must succeed and contain the expected text.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import uvloop

from bench import processes
from bench.function_client import content_length
from progress.serve.ports import HOST


@dataclass(frozen=True)
class RequestBatch:
    port: int
    requests: list[bytes]
    expected: bytes = b'"data"'
    at_once: int = 32


def send(batch: RequestBatch) -> float:
    """Send the batch from a new process; return the seconds.

    Raise RuntimeError if a response is not as expected.
    """
    return processes.run_alone(_run, batch)


def _run(batch: RequestBatch) -> float:
    return uvloop.run(_send(batch))


async def _send(batch: RequestBatch) -> float:
    return await _Sender(batch).send()


class _Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self, expected: bytes, on_error: Callable[[Exception], None]) -> None:
        self._expected, self._on_error = expected, on_error
        self._received, self._whole = b"", 0
        self._on_response: Callable[[_Connection], None] | None = None  # None while idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Do not assert the type, because uvloop's transport is not a subclass of asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, on_response: Callable[["_Connection"], None]) -> None:
        self._on_response = on_response
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._received = self._received + data
        if not self._whole:
            end = answer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._whole = end + 4 + content_length(answer[:end])
        if len(answer) < self._whole:
            return
        is_expected = answer.startswith(b"HTTP/1.1 2") and self._expected in answer
        if not is_expected or b'"errors"' in answer:
            self._on_error(RuntimeError(f"expected {self._expected!r}, received {answer!r}"))
        self._received, self._whole = b"", 0
        on_response, self._on_response = self._on_response, None
        if on_response:
            on_response(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._on_response:  # the server may close a connection that has been idle for seconds
            self._on_error(exc or RuntimeError("the connection was closed"))


class _Sender:
    def __init__(self, batch: RequestBatch) -> None:
        self._batch = batch
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: Iterator[bytes] = iter(batch.requests)
        self._open = len(batch.requests)

    async def send(self) -> float:
        """Keep all connections busy: after each response, send the next request."""
        connections = [await self._connect() for _ in range(self._batch.at_once)]
        begin = time.perf_counter()
        for connection in connections:
            self._next(connection)
        await self._done
        return time.perf_counter() - begin

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._batch.expected, self._fail), HOST, self._batch.port
        )
        return connection

    def _next(self, connection: _Connection) -> None:
        request = next(self._waiting, None)
        if request is not None:
            connection.send(request, self._send_next)

    def _send_next(self, connection: _Connection) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)
        self._next(connection)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
