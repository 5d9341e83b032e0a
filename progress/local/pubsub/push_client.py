"""An HTTP/1.1 client for pushes; it reuses the idle connection that was used most recently."""

import asyncio
from typing import cast
from urllib.parse import urlsplit

import httptools

_CONNECT_TIMEOUT_S = 2.0


class ConnectionRefused(OSError):
    """No process listens at the push address; this is not counted as an attempt to deliver."""


class ConnectionBroken(OSError):
    """The connection ended before a response arrived."""


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_used = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> int:
        """Send the request; return the status, or raise ConnectionBroken."""
        if self._transport is None or not self.is_open:
            raise ConnectionBroken("the connection ended before the request")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None
            self.is_used = True

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

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionBroken("the connection ended before a response"))


class Endpoint:
    """The endpoint of a push subscription, with its idle connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "User-Agent: pubsub-standin\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._idle: list[Connection] = []

    async def push(self, body: bytes, *, seconds: float) -> int:
        """Send a push; return the status of the response.

        If no response arrives within `seconds`, return 504. If the connection ends before the
        response, send the push again if the connection was reused, and return 502 if it was new.
        Raise ConnectionRefused if no process listens.
        """
        request = b"%s%d\r\n\r\n%s" % (self._head, len(body), body)
        while True:
            connection = await self._connect()
            may_be_stale = connection.is_used
            try:
                async with asyncio.timeout(seconds):
                    status = await connection.send(request)
            except TimeoutError:
                connection.close()
                return 504
            except ConnectionBroken:
                if may_be_stale:  # the server may have closed an idle connection
                    continue
                return 502
            if connection.is_open:
                self._idle.append(connection)
            return status

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(Connection, self._host, self._port)
        except OSError as error:
            raise ConnectionRefused(str(error)) from error
        return connection
