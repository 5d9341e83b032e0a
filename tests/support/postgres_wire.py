"""A proxy in front of PostgreSQL that can refuse connections, lose requests or replies, or hang."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from progress.adapters.postgres import url
from tests.conftest import Store
from tests.support import forwarding


class Wire:
    """A proxy socket. It can refuse connections, hang, or lose a response and disconnect.

    If it `hangs`, the server's replies are lost, and if it `loses_requests`, the client's requests.
    In both cases, the other direction works, and no side notices that the network is gone.

    The client sends no Flush before the COMMIT, so that the server responds only after the commit.
    When the proxy loses this response, the transaction is therefore already committed.
    """

    def __init__(self, server: str) -> None:
        self.url = ""
        self.folder = Path(tempfile.mkdtemp(prefix="wire-"))
        self.answers_to_lose = 0
        self.hangs = False
        self.loses_requests = False
        self.refuses = False
        self.connections = 0  # The number of attempts to connect, including refused ones.
        self.sent = b""  # All bytes that clients sent to the server.
        self._server = server
        self._carried: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / ".s.PGSQL.5432"))
        self._socket.listen()
        forwarding.accept(self._socket, self._open)

    def close(self) -> None:
        self._socket.close()
        shutil.rmtree(self.folder)

    def cut(self) -> None:
        while self._carried:
            with suppress(OSError):
                self._carried.pop().shutdown(socket.SHUT_RDWR)

    def _open(self, client: socket.socket) -> None:
        self.connections += 1
        if self.refuses:
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._carried += [client, server]
        threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
        self._answer(server, client)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                self.sent += data
                if not self.loses_requests:
                    server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    break
                if not self.hangs:
                    client.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def wire(store: Store) -> Iterator[Wire]:
    at = url.parse_url(store.url)
    if not at.host.startswith("/"):
        pytest.skip("the server has no Unix socket")
    made = Wire(f"{at.host}/.s.PGSQL.{at.port}")
    made.url = f"postgresql://{at.user}@/{at.database}?host={quote(str(made.folder), safe='/')}"
    yield made
    made.close()
