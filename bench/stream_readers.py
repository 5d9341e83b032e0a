"""Clients that read streams of the query function and record when each event arrives."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import uvloop

from bench.client_protocol import ClientProtocol
from bench.load import HOST

_NEXT = b"event: next\n"
_TIMEOUT_S = 60.0  # seconds


class _Reader(ClientProtocol):
    """A connection that reads one stream and counts the events."""

    def __init__(self, request: bytes) -> None:
        self.events = 0
        self.last_event_at = 0.0
        self._request, self._tail = request, b""

    def start(self) -> None:
        self.transport.write(self._request)

    def receive(self, data: bytes) -> None:
        received = self._tail + data
        self._tail = received[-len(_NEXT) + 1 :]
        if count := received.count(_NEXT):
            self.events += count
            self.last_event_at = time.perf_counter()


class StreamReaders:
    """Streams that are open; a separate thread reads them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, readers: list[_Reader]) -> None:
        self._loop, self._readers = loop, readers

    def wait_for(self, times: int) -> float:
        """Wait until each stream has received `times` events; return the time of the last one."""
        deadline = time.perf_counter() + _TIMEOUT_S
        while any(reader.events < times for reader in self._readers):
            if time.perf_counter() > deadline:
                late = sum(reader.events < times for reader in self._readers)
                raise RuntimeError(
                    f"{late} of {len(self._readers)} streams have fewer than {times} events"
                )
            time.sleep(0.005)
        return max(reader.last_event_at for reader in self._readers)


@contextlib.contextmanager
def open_streams(port: int, requests: list[bytes]) -> Iterator[StreamReaders]:
    """Open a stream for each request. The `with` block begins after each stream's first event."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        readers = asyncio.run_coroutine_threadsafe(_connect(port, requests), loop).result(
            _TIMEOUT_S
        )
        stream_readers = StreamReaders(loop, readers)
        stream_readers.wait_for(1)
        yield stream_readers
        for reader in readers:
            loop.call_soon_threadsafe(reader.transport.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect(port: int, requests: list[bytes]) -> list[_Reader]:
    loop = asyncio.get_running_loop()
    readers = []
    for request in requests:
        _, reader = await loop.create_connection(
            lambda request=request: _Reader(request),  # type: ignore[misc] # mypy does not see the default
            HOST,
            port,
        )
        readers.append(reader)
    return readers
