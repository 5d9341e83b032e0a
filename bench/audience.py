"""Clients that read streams of the query function, and when each heard of the newest change."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import cast

import uvloop

from bench.load import HOST

_NEXT = b"event: next\n"
_PATIENCE = 60.0  # seconds


class _Ear(asyncio.Protocol):
    """One stream; counts what it is told."""

    def __init__(self, request: bytes) -> None:
        self.told = 0
        self.heard_at = 0.0
        self._request, self._tail = request, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._tail + data
        self._tail = received[-len(_NEXT) + 1 :]
        if count := received.count(_NEXT):
            self.told += count
            self.heard_at = time.perf_counter()


class Audience:
    """Open streams, read on a thread of their own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ears: list[_Ear]) -> None:
        self._loop, self._ears = loop, ears

    def heard(self, times: int) -> float:
        """The moment at which the last of them was told so often; RuntimeError if one was not."""
        deadline = time.perf_counter() + _PATIENCE
        while any(ear.told < times for ear in self._ears):
            if time.perf_counter() > deadline:
                deaf = sum(ear.told < times for ear in self._ears)
                raise RuntimeError(f"{deaf} of {len(self._ears)} streams were not told {times} x")
            time.sleep(0.005)
        return max(ear.heard_at for ear in self._ears)


@contextlib.contextmanager
def listening(port: int, requests: list[bytes]) -> Iterator[Audience]:
    """A stream for each request, until the block ends; each was told how it stands."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        ears = asyncio.run_coroutine_threadsafe(_opened(port, requests), loop).result(_PATIENCE)
        audience = Audience(loop, ears)
        audience.heard(1)
        yield audience
        for ear in ears:
            loop.call_soon_threadsafe(ear.transport.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _opened(port: int, requests: list[bytes]) -> list[_Ear]:
    loop = asyncio.get_running_loop()
    ears = []
    for request in requests:
        _, ear = await loop.create_connection(
            lambda request=request: _Ear(request),  # type: ignore[misc] # mypy knows no default
            HOST,
            port,
        )
        ears.append(ear)
    return ears
