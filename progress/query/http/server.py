"""Limits for connections in uvicorn, and the upgrade of a connection to a WebSocket.

httptools has no size limit, so it would collect an endless line, header or trailer in memory. Each
connection therefore counts the bytes that it receives. The count restarts with each new request and
with each received part of a body. A larger head gets 431 and is not read further. uvicorn limits
only the idle time between two requests. A connection whose head does not arrive completely in time
is closed. So is one that sends request after request and does not wait for the answers.

An offer of another protocol, and of a WebSocket in a POST, is ignored (RFC 9110, section 7.8).
httptools would take the rest of the connection for the other protocol's.
"""

import asyncio
import functools
from typing import Any

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn_worker import UvicornWorker

from progress.query.http import protocol
from progress.query.http.stall_limit import STALL_S, StallLimit
from progress.query.http.turns import InTurns

TIMEOUT_S = 10.0  # the same deadline as in ingest and project
PING_S = 12.0  # between two pings of a socket; streams have heartbeats as often

_MAX_BYTES = 64 << 10  # Eight times the size that tokens and cookies need.
_MOST_WAITING = 100  # requests of a connection that wait for the answers to those before them
_RESPONSE = (
    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nprogress-error: 1\r\n"
    b'content-length: %d\r\nconnection: close\r\n\r\n{"error": "%b"}'
)


class _Parser(httptools.HttpRequestParser):
    """A parser that reads a head without its offer again, if the connection ignores the offer."""

    def __init__(self, connection: "BoundedProtocol") -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # uvicorn feeds bytes
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._connection.ignores_offer():
                raise
            self._connection.parse_again(data[offer.args[0] :])


class BoundedProtocol(InTurns, StallLimit, HttpToolsProtocol):
    """A connection with a size limit and a deadline for request heads."""

    timeout_s = TIMEOUT_S
    requests: ASGIApp
    sockets: ASGIApp
    _deadline: asyncio.TimerHandle | None = None  # None while no head is incomplete
    _head_bytes = 0  # size so far of the current head, trailers or chunk-size line
    _running: RequestResponseCycle | None = None
    _is_upgraded = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app, self.parser = self.requests, _Parser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Add `abort` to each request's state. `abort` disconnects and drops unsent data."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._check_deadline()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._deadline:
            self._deadline.cancel()
        if self._running:  # uvicorn tells only the newest of several requests
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def parse(self, data: bytes) -> None:
        before = self.scope
        super().parse(data)
        self._check_deadline()
        if self.scope is not before:  # a message started
            self._head_bytes = len(data)
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_BYTES:
            self._reject()

    def speed(self) -> int:
        return 16 if self._has_request() else 4  # a body, or a head

    def is_ended(self) -> bool:
        return self._is_upgraded or super().is_ended()

    def resume(self) -> None:
        if not self.flow.read_paused:
            super().resume()

    def _should_upgrade(self) -> bool:
        """Return whether uvicorn leaves the request alone: a socket, or what `_Parser` reads again.

        It asks only if there is an offer, so that other requests pay nothing.
        """
        return bool(self.scope["method"] != "CONNECT")

    def ignores_offer(self) -> bool:
        return self._should_upgrade() and not super()._should_upgrade()

    def parse_again(self, rest: bytes) -> None:
        """Parse the head without its offer, and what follows it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = (b"%s: %s\r\n" % line for line in self.headers if line[0] != b"upgrade")
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(lines))
        self.parser = _Parser(self)
        self.parser.feed_data(head + rest)

    def on_headers_complete(self) -> None:
        """Begin the request with the headers alone: uvicorn adds trailers to the same list."""
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            self._refuse(b"501 Not Implemented", b"expected no coding but chunked")
            raise httptools.HttpParserError  # uvicorn calls send_400_response
        if len(self.url) >= _MAX_BYTES:  # httptools would call it invalid
            self._reject()
            raise httptools.HttpParserError
        if len(self.pipeline) >= _MOST_WAITING:
            self.transport.abort()  # an answer would be taken for that to an earlier request
            raise httptools.HttpParserError
        super().on_headers_complete()
        self.scope["headers"] = [*self.headers]

    def on_body(self, body: bytes) -> None:
        """Reset the count, because the application, not this class, limits the size of a body."""
        super().on_body(body)
        self._head_bytes = 0

    def _check_deadline(self) -> None:
        """Start the deadline of a head; end it once the head is complete."""
        if not self._has_request():
            if self._deadline is None:
                self._deadline = self.loop.call_later(self.timeout_s, self.transport.close)
        elif self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _reject(self) -> None:
        """Respond and close; only close if a response has begun, or an earlier request waits."""
        cycle = self.cycle
        if self._has_request() and (
            self._is_upgraded
            or self.pipeline
            or cycle.response_started
            or cycle.scope is not self.scope  # that of a request whose head is incomplete
        ):
            self.transport.close()
        elif not self.transport.is_closing():
            if cycle is not None:  # a head that is complete: its application responds to nobody
                cycle.disconnected = True
                cycle.message_event.set()
            why = b"expected at most %d bytes" % _MAX_BYTES
            self._refuse(b"431 Request Header Fields Too Large", why)

    def send_400_response(self, msg: str) -> None:
        """Respond to a malformed request, unless it has a response."""
        if not self.transport.is_closing():
            self._refuse(b"400 Bad Request", msg.encode())

    def _refuse(self, status: bytes, why: bytes) -> None:
        self.transport.write(_RESPONSE % (status, len(why) + 13, why))
        self.transport.close()

    def _has_request(self) -> bool:
        """Return whether the head of a request is complete, and its response is not."""
        has_cycle = self.cycle is not None  # uvicorn sets it when a head is complete
        return self._is_upgraded or (has_cycle and not self.cycle.response_complete)

    def is_limited(self) -> bool:
        """Return whether the response is a stream: only a stream has no Content-Length."""
        return self._has_request() and bool(self.cycle.chunked_encoding)

    def _should_upgrade_to_ws(self) -> bool:
        """Return whether the request may open a socket: a GET with no request before it."""
        return self.scope["method"] == "GET" and not self._has_request()

    def handle_websocket_upgrade(self) -> None:
        from progress.query.http.socket_protocol import SocketProtocol  # takes 17 ms

        protocol = functools.partial(SocketProtocol, self.sockets)
        self.ws_protocol_class = protocol  # type: ignore[assignment] # uvicorn only calls it
        super().handle_websocket_upgrade()
        self._is_upgraded = True


def configure(
    requests: ASGIApp,
    sockets: ASGIApp,
    *,
    timeout_s: float = TIMEOUT_S,
    stall_s: float = STALL_S,
    ping_s: float = PING_S,
) -> None:
    """Limit connections, and serve sockets; call this before the framework starts the server.

    `requests` is called for each request instead of the framework's routes, which take a fifth of
    the time of a cached response, and `sockets` for each upgraded connection. A connection is
    closed if its head has not arrived completely after `timeout_s` seconds. The client of a socket
    has `ping_s` seconds to answer a ping.
    """
    BoundedProtocol.timeout_s, StallLimit.stall_s = timeout_s, stall_s
    BoundedProtocol.requests = staticmethod(requests)
    BoundedProtocol.sockets = staticmethod(sockets)
    UvicornWorker.CONFIG_KWARGS |= {
        "http": BoundedProtocol,
        "ws": "none",  # BoundedProtocol imports the protocol when it is needed
        "ws_max_size": protocol.MAX_BODY,
        "ws_per_message_deflate": False,  # a compressed message can be far larger than its frames
        "ws_ping_interval": ping_s,
        "ws_ping_timeout": ping_s,
    }
