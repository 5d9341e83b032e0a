"""Server-Sent Events: a response that goes on, as the GraphQL over SSE protocol has it."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from progress.errors import Unavailable
from progress.query.http.responses import Reply

EVENTS = "text/event-stream"

_GRACE = 2.0  # seconds: for a client to take the end, once its token has expired
_BEAT = b":\n\n"  # a comment: no proxy takes the connection for dead, and who has gone is noticed
_COMPLETE = b"event: complete\ndata:\n\n"
_LINES = (
    (b"content-type", f"{EVENTS}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
)


@functools.lru_cache(maxsize=256)
def is_liked(accept: bytes) -> bool:
    """Whether an Accept header's value takes events; without one anything is taken."""
    liked = {part.partition(b";")[0].strip() for part in accept.lower().split(b",")}
    return bool(liked & {b"", EVENTS.encode(), b"text/*", b"*/*"})


def single(body: bytes) -> Response:
    """One result, and the end."""
    return Reply(_next(body) + _COMPLETE, 200, _LINES)


def _next(body: bytes) -> bytes:
    return b"event: next\ndata: " + body + b"\n\n"  # JSON has no line breaks


class EventStream(Response):
    """Results as they come, each that is another than the one before it.

    `following` gives the next and raises StopAsyncIteration after the last; it is asked when the
    client has taken what came before, so nothing heaps up. `close` has it raise that at once.
    `held` is let go of in the end.
    """

    def __init__(
        self,
        first: bytes,
        following: Callable[[], Awaitable[bytes]],
        close: Callable[[], None],
        held: ExitStack,
        *,
        until: float,
        heartbeat: float,
    ) -> None:
        """`until` is in seconds since 1970; `heartbeat` in seconds."""
        self.status_code, self.background = 200, None
        self.raw_headers = [*_LINES]
        self._first, self._following = first, following
        self._close, self._held = close, held
        self._until, self._heartbeat = until, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, to its end or until the client goes; one that does not read is cut off."""
        leaving = asyncio.create_task(self._left(receive))
        try:
            async with asyncio.timeout(self._until + _GRACE - time.time()):
                await self._send(scope, send)
        except TimeoutError:
            if "abort" in scope.get("state", ()):
                scope["state"]["abort"]()
                await leaving  # the server knows then that there is nothing left to send
        finally:
            leaving.cancel()
            self._close()
            self._held.close()

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._tell(send)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._close()

    async def _tell(self, send: Send) -> None:
        last, body = b"", self._first
        while True:
            piece = _BEAT if body in (b"", last) else _next(body)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            last = body or last
            try:
                body = await self._awaited()
            except (StopAsyncIteration, Unavailable):
                return

    async def _awaited(self) -> bytes:
        """The next result; empty where it is time for a heart-beat."""
        left = self._until - time.time()
        try:
            async with asyncio.timeout(max(0, min(left, self._heartbeat))):
                return await self._following()
        except TimeoutError:
            if time.time() < self._until:
                return b""
            raise StopAsyncIteration from None
