"""A port that refuses connections until it is opened, and then forwards to PostgreSQL."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from progress.adapters.postgres import url as postgres_url
from progress.local import ports
from tests.support import forwarding


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
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.calls += 1
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{self._behind.host}/.s.PGSQL.{self._behind.port}")
            forwarding.forward(client, server)
