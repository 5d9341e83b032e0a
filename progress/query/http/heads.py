"""The bound on a request's head where uvicorn reads it: 431 beyond it, and the connection ends.

httptools bounds nothing: a line, a header or a trailer without end would be kept in memory as it
comes. So the bytes are counted that neither begin a message nor bring a part of its body.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

_MOST = 64 << 10  # bytes: eight times what tokens and cookies need
_PIECE = 16 << 10  # bytes that are parsed at once: what goes beyond the bound at the most
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _unread = 0  # bytes of a head, of trailers or of a chunk's line so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # theirs
        """Tell every request how its connection is cut off, whatever waits to be sent."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it belongs to a head that is too large."""
        if len(data) > _PIECE:
            self._divide(data)
            return
        before = self.scope
        super().data_received(data)
        if self.scope is not before:  # a message began
            self._unread = len(data)
            return
        self._unread += len(data)
        if self._unread > _MOST:
            self._refuse()

    def _divide(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            self.data_received(data[at : at + _PIECE])
            if self.transport.is_closing():
                return

    def on_body(self, body: bytes) -> None:
        """Count anew: the application bounds what it reads of a body."""
        super().on_body(body)
        self._unread = 0

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        begun = self.cycle is not None  # before the first whole head
        if not begun or self.cycle.response_complete:
            self.transport.write(_REFUSAL)
        self.transport.close()


def bound() -> None:
    """Have the server that the framework is about to start read requests so."""
    UvicornWorker.CONFIG_KWARGS["http"] = BoundedProtocol
