"""One connection of a client to the server that is measured, on asyncio's protocol interface."""

import asyncio
from typing import cast


class ClientProtocol(asyncio.Protocol):
    """Keep the transport; pass data and the loss of the connection to the subclass."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.start()

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or RuntimeError("the connection was closed"))

    def start(self) -> None:
        """Act on the new connection."""

    def receive(self, data: bytes) -> None:
        """Act on data from the server."""

    def fail(self, error: Exception) -> None:
        """Act on an error, or on the end of the connection."""
