"""Forwarding between two sockets, for proxies in front of PostgreSQL."""

import selectors
import socket
from contextlib import suppress

# Larger than any TLS record, so that one `recv` returns a whole record. If a part of the record
# stayed in the TLS buffer, `select` would not report it.
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
