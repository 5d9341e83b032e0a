"""Send a batch of requests at full speed from a separate process, and measure how long it takes.

Each response must succeed and contain the expected text.
"""

import asyncio
import multiprocessing
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import uvloop

from progress.serve.ports import HOST


@dataclass(frozen=True)
class RequestBatch:
    port: int
    requests: list[bytes]
    expected: bytes
    at_once: int


def send(batch: RequestBatch) -> float:
    """Send the batch from a new process; return the seconds.

    Raise RuntimeError if a response is not as expected.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, batch).result()


def _run(batch: RequestBatch) -> float:
    return uvloop.run(_send(batch))


async def _send(batch: RequestBatch) -> float:
    """Keep all connections busy: after each response, send the next request."""
    connections = [await asyncio.open_connection(HOST, batch.port) for _ in range(batch.at_once)]
    waiting, begin = iter(batch.requests), time.perf_counter()
    await asyncio.gather(*(_take(waiting, batch.expected, *each) for each in connections))
    return time.perf_counter() - begin


async def _take(
    waiting: Iterator[bytes], expected: bytes, reader: StreamReader, writer: StreamWriter
) -> None:
    with closing(writer):
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            answer = head + await reader.readexactly(_content_length(head))
            is_expected = answer.startswith(b"HTTP/1.1 2") and expected in answer
            if not is_expected or b'"errors"' in answer:
                raise RuntimeError(f"expected {expected!r}, received {answer!r}")


def _content_length(head: bytes) -> int:
    """Return the Content-Length of a response, or 0 if the header is missing."""
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)
