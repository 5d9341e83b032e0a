"""Server-Sent Events, in the distinct-connections mode of the protocol "GraphQL over SSE"."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from progress.errors import Unavailable
from progress.query.http.protocol import Reply

EVENTS = "text/event-stream"

_GRACE_S = 2.0  # Time for the client to read the last event after the token has expired.
_HEARTBEAT = b":\n\n"  # An SSE comment. It keeps proxies connected and detects a lost client.
_COMPLETE = b"event: complete\ndata:\n\n"
_HEADERS = (
    (b"content-type", f"{EVENTS}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
)


@functools.lru_cache(maxsize=256)
def accepts(accept: bytes) -> bool:
    """Return whether an Accept header allows events. An empty header allows every media type."""
    media_types = {part.partition(b";")[0].strip() for part in accept.lower().split(b",")}
    return bool(media_types & {b"", EVENTS.encode(), b"text/*", b"*/*"})


def single(body: bytes) -> Response:
    """Return a response with one result and the `complete` event."""
    return Reply(_next_event(body) + _COMPLETE, 200, _HEADERS)


def _next_event(body: bytes) -> bytes:
    return b"event: next\ndata: " + body + b"\n\n"  # the JSON in `body` has no line breaks


class EventStream(Response):
    """A stream of results. A result equal to the one before it is not sent.

    `next_result` raises StopAsyncIteration after the last result. The stream calls `next_result`
    only when the client has read all earlier results, so that results do not accumulate. `close`
    makes `next_result` raise immediately. `resources` is closed at the end of the response.
    """

    def __init__(
        self,
        first: bytes,
        next_result: Callable[[], Awaitable[bytes]],
        close: Callable[[], None],
        resources: ExitStack,
        *,
        expires_at: float,
        heartbeat: float,
    ) -> None:
        """`expires_at` is in seconds since 1970; `heartbeat` is in seconds."""
        self.status_code, self.background = 200, None
        self.raw_headers = [*_HEADERS]
        self._first, self._next_result = first, next_result
        self._close, self._resources = close, resources
        self._expires_at, self._heartbeat = expires_at, heartbeat
        self._pending: asyncio.Future[bytes] | None = None  # the call of `next_result`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send results until the last result is sent or the client disconnects.

        A client that does not read is cut off soon after its token has expired.
        """
        disconnect = asyncio.create_task(self._close_on_disconnect(receive))
        try:
            async with asyncio.timeout(self._expires_at + _GRACE_S - time.time()):
                await self._send(scope, send)
        except TimeoutError:
            if "abort" in scope.get("state", ()):
                scope["state"]["abort"]()
                await disconnect  # otherwise, uvicorn would report an incomplete response
        finally:
            disconnect.cancel()
            if self._pending:
                self._pending.cancel()
            self._close()
            self._resources.close()

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._send_results(send)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _close_on_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._close()

    async def _send_results(self, send: Send) -> None:
        last, body = b"", self._first
        while True:
            event = _HEARTBEAT if body in (b"", last) else _next_event(body)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            last = body or last
            try:
                body = await self._wait_for_result()
            except (StopAsyncIteration, Unavailable):
                return

    async def _wait_for_result(self) -> bytes:
        """Return the next result, or empty bytes when a heartbeat is due."""
        # A heartbeat must not cancel `next_result`: the result that it is computing would be lost.
        self._pending = self._pending or asyncio.ensure_future(self._next_result())
        seconds = max(0, min(self._expires_at - time.time(), self._heartbeat))
        if (await asyncio.wait({self._pending}, timeout=seconds))[0]:
            done, self._pending = self._pending, None
            return done.result()
        if time.time() < self._expires_at:
            return b""
        raise StopAsyncIteration
