"""A size limit for request heads in uvicorn; a larger head gets 431 and is not read further.

httptools has no limit, so it would collect an endless line, header or trailer in memory. Each
connection therefore counts the bytes that it receives. The count restarts with each new request and
with each received part of a body.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

_MAX_BYTES = 64 << 10  # Eight times the size that tokens and cookies need.
_CHUNK_BYTES = 16 << 10  # Bytes parsed per call. A head exceeds the limit by at most this number.
_RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """A connection with a size limit for request heads."""

    _head_bytes = 0  # size so far of the current head, trailers or chunk-size line

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Add `abort` to each request's state. `abort` disconnects and drops unsent data."""
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
        """Reset the count, because the application, not this class, limits the size of a body."""
        super().on_body(body)
        self._head_bytes = 0

    def _reject(self) -> None:
        if self.transport.is_closing():
            return
        # uvicorn sets `cycle` once the head of a request is complete.
        has_request = self.cycle is not None
        if not has_request or self.cycle.response_complete:
            self.transport.write(_RESPONSE)
        self.transport.close()


def install() -> None:
    """Limit the size of request heads; call this before the framework starts the server."""
    UvicornWorker.CONFIG_KWARGS["http"] = BoundedProtocol
