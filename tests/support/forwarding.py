"""Proxies in front of servers."""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from progress.adapters.postgres import url as postgres_url
from progress.serve import ports

# Larger than any TLS record, so that one `recv` returns a whole record. If a part of the record
# stayed in the TLS buffer, `select` would not report it.
_CHUNK = 65_536


def accept(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=handle, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def forward(client: socket.socket, server: socket.socket) -> None:
    """Forward data in both directions until one side closes or fails; close both."""
    with suppress(OSError), client, server, selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, (client, server))
        ready.register(server, selectors.EVENT_READ, (server, client))
        while True:
            for key, _ in ready.select():
                source, target = key.data
                if not (data := source.recv(_CHUNK)):
                    return
                target.sendall(data)


@contextmanager
def without_upgrades(port: int) -> Iterator[int]:
    """Run a proxy that passes no upgrade on, as many do; yield its port."""

    def handle(client: socket.socket) -> None:
        request = client.recv(_CHUNK)
        server = socket.create_connection((ports.HOST, port))
        server.sendall(request.replace(b"Upgrade: websocket\r\n", b""))
        forward(client, server)

    with socket.create_server((ports.HOST, 0)) as listener:
        accept(listener, handle)
        yield listener.getsockname()[1]


class Gate:
    """A port that is closed at first: a socket is bound to the port, but does not listen yet."""

    def __init__(self, url: str) -> None:
        self._behind = postgres_url.parse_url(url)
        self._listener = socket.socket()
        self._listener.bind((ports.HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.calls = 0
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{login}@{ports.HOST}:{self.port}", query="").geturl()

    def open(self) -> None:
        self._listener.listen()
        accept(self._listener, self._forward)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, client: socket.socket) -> None:
        self.calls += 1
        with suppress(OSError), client, socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{self._behind.host}/.s.PGSQL.{self._behind.port}")
            forward(client, server)
