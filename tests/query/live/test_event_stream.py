"""Heartbeats do not make a stream of Server-Sent Events lose results."""

import asyncio
import time
from contextlib import ExitStack

from starlette.types import Message

from progress.query.http.sse import EventStream

HEARTBEAT = b":\n\n"


def test_a_result_that_is_computed_during_a_heartbeat_is_sent() -> None:
    """A heartbeat may be due while a download link is being signed, for example."""
    results = [b"final"]
    sent: list[bytes] = []

    async def run() -> None:
        heartbeat = asyncio.Event()

        async def next_result() -> bytes:
            if not results:
                raise StopAsyncIteration
            result = results.pop()
            await heartbeat.wait()
            return result

        async def receive() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))
            if sent[-1] == HEARTBEAT:
                heartbeat.set()

        stream = EventStream(
            b"first", next_result, lambda: None, ExitStack(),
            expires_at=time.time() + 60, heartbeat=0.01,
        )  # fmt: skip
        await stream({"type": "http", "method": "GET"}, receive, send)

    asyncio.run(run())
    assert HEARTBEAT in sent
    assert b"event: next\ndata: final\n\n" in sent
    assert sent[-1] == b"event: complete\ndata:\n\n"
