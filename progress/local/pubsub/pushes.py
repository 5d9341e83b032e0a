"""Pushes over HTTP/1.1: connections that are kept, the one used last first."""

import asyncio
from typing import cast
from urllib.parse import urlsplit

import httptools

_CONNECT = 2.0  # seconds: nobody takes connections who takes longer


class Refused(OSError):
    """Nobody listens: no attempt was made."""


class Broken(OSError):
    """The connection ended before an answer."""


class Wire(asyncio.Protocol):
    """One connection; it carries one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self.used = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> int:
        """The status of the answer; Broken where the connection ends before it."""
        if self._transport is None or not self.is_open:
            raise Broken("the connection ended before the request")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None
            self.used = True

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, _fault: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(Broken("the connection ended before an answer"))


class Endpoint:
    """Where pushes go to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "User-Agent: pubsub-standin\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._idle: list[Wire] = []

    async def push(self, body: bytes, *, seconds: float) -> int:
        """The status of the answer, 502 or 504 where none came; Refused where nobody listens."""
        request = b"%s%d\r\n\r\n%s" % (self._head, len(body), body)
        while True:
            wire = await self._wire()
            stale = wire.used
            try:
                async with asyncio.timeout(seconds):
                    status = await wire.send(request)
            except TimeoutError:
                wire.close()
                return 504
            except Broken:
                if stale:  # closed by the other side for idleness, perhaps
                    continue
                return 502
            if wire.is_open:
                self._idle.append(wire)
            return status

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _wire(self) -> Wire:
        while self._idle:
            if (wire := self._idle.pop()).is_open:
                return wire
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT):
                _, wire = await loop.create_connection(Wire, self._host, self._port)
        except OSError as fault:
            raise Refused(str(fault)) from fault
        return wire
