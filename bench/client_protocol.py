"""A client's connection to the measured server, based on asyncio's protocol interface."""

import asyncio
from typing import cast


class ClientProtocol(asyncio.Protocol):
    """A connection; a subclass handles its start, the received data, and its end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Do not assert the type, because uvloop's transport is not a subclass of asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        self.start()

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or RuntimeError("the connection was closed"))

    def start(self) -> None:
        """Handle the new connection."""

    def receive(self, data: bytes) -> None:
        """Handle data from the server."""

    def fail(self, error: Exception) -> None:
        """Handle an error or the end of the connection."""
