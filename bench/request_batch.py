"""Send a batch of requests from a separate process, and measure the responses.

Each response must succeed and contain the expected text.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

from bench import machine_speed, processes
from bench.function_client import content_length
from bench.machine_speed import TimedRequest
from progress.local.ports import HOST

# Before each request, a loop measures the machine's speed. The loop starts `_LOOP_S` seconds before
# the request is due, so that the loop ends before the request is sent.
_LOOP_S = 0.01


@dataclass(frozen=True)
class RequestBatch:
    """Requests to send at full speed, or at a steady rate."""

    port: int
    requests: list[bytes]
    expected: bytes = b'"data"'
    at_once: int = 32
    a_second: int | None = None
    times_loops: bool = False  # time a loop before and after each request (see machine_speed)


@dataclass(frozen=True)
class Durations:
    """The seconds of the whole batch, and of each request from its due time until its response.

    The `loop` of each request is 0 if `times_loops` is false.
    """

    all: float
    responses: list[TimedRequest] = field(default_factory=list)


def send(batch: RequestBatch) -> Durations:
    """Send the batch from a new process. Raise RuntimeError if a response is not as expected."""
    return processes.run_alone(_run, batch)[0]


def _run(batch: RequestBatch) -> Durations:
    return uvloop.run(_send(batch))


async def _send(batch: RequestBatch) -> Durations:
    sender = _Sender(batch)
    return await (
        sender.send_steadily(batch.a_second) if batch.a_second else sender.send_at_full_speed()
    )


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
    """A sender of a batch over several connections."""

    def __init__(self, batch: RequestBatch) -> None:
        self._batch = batch
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: Iterator[bytes] = iter(batch.requests)
        self._open = len(batch.requests)
        self._free: list[_Connection] = []
        self._durations: list[TimedRequest] = []

    async def send_at_full_speed(self) -> Durations:
        """Keep all connections busy: after each response, send the next request."""
        for _ in range(self._batch.at_once):
            self._free.append(await self._connect())
        begin = time.perf_counter()
        for connection in self._free:
            self._next(connection)
        await self._done
        return Durations(time.perf_counter() - begin)

    async def send_steadily(self, a_second: int) -> Durations:
        """Send each request when it is due, even if earlier requests have no response yet."""
        begin = time.perf_counter()
        for number, request in enumerate(self._waiting):
            due = begin + number / a_second
            await asyncio.sleep(max(0.0, due - _LOOP_S - time.perf_counter()))
            loop = self._time_loop()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            connection = self._take_free() or await self._connect()
            connection.send(request, self._record_time(due, loop))
        await self._done
        return Durations(time.perf_counter() - begin, self._durations)

    def _take_free(self) -> _Connection | None:
        """Return the idle connection that was used last; drop those that the server has closed."""
        while self._free:
            connection = self._free.pop()
            if not connection.transport.is_closing():
                return connection
        return None

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
        self._count()
        self._next(connection)

    def _record_time(self, due: float, loop_before: float) -> Callable[[_Connection], None]:
        def on_response(connection: _Connection) -> None:
            seconds = time.perf_counter() - due
            loop = max(loop_before, self._time_loop())
            self._durations.append(TimedRequest(seconds, loop))
            self._free.append(connection)
            self._count()

        return on_response

    def _time_loop(self) -> float:
        return machine_speed.time_loop() if self._batch.times_loops else 0.0

    def _count(self) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
