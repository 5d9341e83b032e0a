"""A size limit for request heads in uvicorn: 431 beyond it, and the connection is closed.

httptools has no limit: it would collect an endless line, header or trailer in memory. Bytes count
towards the limit unless they start a message or bring a part of its body.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

_MAX_BYTES = 64 << 10  # eight times the size that tokens and cookies need
_CHUNK_BYTES = 16 << 10  # parsed at once: the largest excess over the limit
_RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose request heads are limited."""

    _head_bytes = 0  # of a head, of trailers or of a chunk's line so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # its own type
        """Add to each request's state how to abort its connection without sending the rest."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}

    def data_received(self, data: bytes) -> None:
        """Parse the data; reject a head that is too large."""
        if len(data) > _CHUNK_BYTES:
            self._split(data)
            return
        before = self.scope
        super().data_received(data)
        if self.scope is not before:  # a message started
            self._head_bytes = len(data)
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_BYTES:
            self._reject()

    def _split(self, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            self.data_received(data[start : start + _CHUNK_BYTES])
            if self.transport.is_closing():
                return

    def on_body(self, body: bytes) -> None:
        """Reset the count: the application limits the body itself."""
        super().on_body(body)
        self._head_bytes = 0

    def _reject(self) -> None:
        if self.transport.is_closing():
            return
        has_request = self.cycle is not None  # None before the first complete head
        if not has_request or self.cycle.response_complete:
            self.transport.write(_RESPONSE)
        self.transport.close()


def install() -> None:
    """Limit the heads in the server that the framework starts next."""
    UvicornWorker.CONFIG_KWARGS["http"] = BoundedProtocol
