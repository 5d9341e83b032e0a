"""`python -m bench.volley`: sends the requests that standard input holds, and tells what it took.

A process of its own, of little cost. Each answer must be a good one and hold a given text.
"""

import asyncio
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import msgspec
import uvloop

from bench.load import HOST, length
from progress.local.parts import ROOT


class Volley(msgspec.Struct, frozen=True):
    """Requests, to be sent as fast as they are answered, or so many a second."""

    port: int
    requests: list[bytes]
    telling: bytes = b'"data"'
    at_once: int = 32
    a_second: int | None = None


class Took(msgspec.Struct, frozen=True):
    """Seconds: all of it, and each answer from the moment that its request was due."""

    all: float
    each: list[float] = []


def fire(volley: Volley) -> Took:
    """What the volley took; RuntimeError if an answer was not as told."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.volley"],
        input=msgspec.msgpack.encode(volley),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError("the requests were not answered, see above")
    return msgspec.msgpack.decode(done.stdout, type=Took)


class _Wire(asyncio.Protocol):
    """One connection, with one request under way."""

    def __init__(self, telling: bytes, failed: Callable[[Exception], None]) -> None:
        self._telling, self._failed = telling, failed
        self._received, self._whole = b"", 0

    def ask(self, request: bytes, answered: Callable[["_Wire"], None]) -> None:
        self._answered = answered
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        answer = self._received = self._received + data
        if not self._whole:
            end = answer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._whole = end + 4 + length(answer[:end])
        if len(answer) < self._whole:
            return
        if not answer.startswith(b"HTTP/1.1 2") or self._telling not in answer:
            self._failed(RuntimeError(f"expected {self._telling!r}, answered: {answer!r}"))
        self._received, self._whole = b"", 0
        self._answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._failed(exc or RuntimeError("the connection was closed"))


class _Sender:
    """Sends a volley over its connections."""

    def __init__(self, volley: Volley) -> None:
        self._volley = volley
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: Iterator[bytes] = iter(volley.requests)
        self._open = len(volley.requests)
        self._free: deque[_Wire] = deque()
        self._took: list[float] = []

    async def at_will(self) -> Took:
        """Each connection sends its next request when the last is answered."""
        for _ in range(self._volley.at_once):
            self._free.append(await self._wire())
        begin = time.perf_counter()
        for wire in self._free:
            self._next(wire)
        await self._done
        return Took(time.perf_counter() - begin)

    async def steadily(self, a_second: int) -> Took:
        """Each request when it is due, whatever became of those before it."""
        begin = time.perf_counter()
        for number, request in enumerate(self._waiting):
            due = begin + number / a_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            wire = self._free.popleft() if self._free else await self._wire()
            wire.ask(request, self._timed(due))
        await self._done
        return Took(time.perf_counter() - begin, self._took)

    async def _wire(self) -> _Wire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            lambda: _Wire(self._volley.telling, self._fail), HOST, self._volley.port
        )
        return wire

    def _next(self, wire: _Wire) -> None:
        request = next(self._waiting, None)
        if request is not None:
            wire.ask(request, self._answered)

    def _answered(self, wire: _Wire) -> None:
        self._count()
        self._next(wire)

    def _timed(self, due: float) -> Callable[[_Wire], None]:
        def answered(wire: _Wire) -> None:
            self._took.append(time.perf_counter() - due)
            self._free.append(wire)
            self._count()

        return answered

    def _count(self) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def _fail(self, why: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(why)


async def _sent(volley: Volley) -> Took:
    sender = _Sender(volley)
    return await (sender.steadily(volley.a_second) if volley.a_second else sender.at_will())


def main() -> None:
    volley = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Volley)
    sys.stdout.buffer.write(msgspec.msgpack.encode(uvloop.run(_sent(volley))))


if __name__ == "__main__":
    main()
