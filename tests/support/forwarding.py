"""Forwarding between two sockets, for proxies in front of PostgreSQL."""

import selectors
import socket
from contextlib import suppress

# A TLS record is smaller, so that no received data stays in a TLS buffer, which `select` ignores.
_CHUNK = 65_536


def forward(client: socket.socket, server: socket.socket) -> None:
    """Forward data in both directions until one side closes or fails; close both."""
    with suppress(OSError), client, server, selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, (client, server))
        ready.register(server, selectors.EVENT_READ, (server, client))
        while True:
            for key, _ in ready.select():
                source, target = key.data
                data = source.recv(_CHUNK)
                if not data:
                    return
                target.sendall(data)
