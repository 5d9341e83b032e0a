"""A port that refuses connections until it is opened, and then forwards to PostgreSQL."""

import selectors
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from progress.adapters.postgres import url as postgres_url
from progress.local import ports


class Gate:
    """A port that is closed at first: a socket reserves the port, but does not listen."""

    def __init__(self, url: str) -> None:
        self._behind = postgres_url.parse_url(url)
        self._door = socket.socket()
        self._door.bind((ports.HOST, 0))
        self.port: int = self._door.getsockname()[1]
        self.calls = 0
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{login}@{ports.HOST}:{self.port}", query="").geturl()

    def open(self) -> None:
        self._door.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                wire, _ = self._door.accept()
                self.calls += 1
                threading.Thread(target=self._carry, args=(wire,), daemon=True).start()

    def _carry(self, outer: socket.socket) -> None:
        """Forward data in both directions until one side closes."""
        with (
            suppress(OSError),
            outer,
            socket.socket(socket.AF_UNIX) as inner,
            selectors.DefaultSelector() as ready,
        ):
            inner.connect(f"{self._behind.host}/.s.PGSQL.{self._behind.port}")
            ready.register(outer, selectors.EVENT_READ, (outer, inner))
            ready.register(inner, selectors.EVENT_READ, (inner, outer))
            while True:
                for key, _ in ready.select():
                    source, target = key.data
                    data = source.recv(65_536)
                    if not data:
                        return
                    target.sendall(data)
