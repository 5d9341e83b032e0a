"""An HTTP client that sends request bodies in parts."""

import functools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import BinaryIO

from tests.support.function_process import FunctionProcess


class Client:
    """A client that sends bodies in parts.

    The client connects only when it sends its first request, because the server closes a
    connection after two idle seconds.
    """

    def __init__(self, running: FunctionProcess) -> None:
        self._running = running

    @functools.cached_property
    def _socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._running.port), timeout=60)

    @functools.cached_property
    def _answers(self) -> BinaryIO:
        return self._socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)

    def begin(
        self, length: int | None, *headers: str, method: str = "POST", path: str = "/"
    ) -> None:
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = (f"{method} {path} HTTP/1.1", "Host: here", framing, *headers, "", "")
        self.send("\r\n".join(lines).encode())

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n" % len(data), data, b"\r\n")

    def post_chunks(self, *chunks: bytes) -> int:
        self.begin(None)
        for data in chunks:
            self.chunk(data)
        self.send(b"0\r\n\r\n")
        return self.status()

    def post(self, body: bytes) -> int:
        self.begin(len(body))
        self.send(body)
        return self.status()

    def status(self) -> int:
        status = int(self._answers.readline().split()[1])
        length = 0
        while line := self._answers.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._answers.read(length)
        return status

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


@contextmanager
def clients(running: FunctionProcess, count: int) -> Iterator[list[Client]]:
    with ExitStack() as opened:
        yield [opened.enter_context(closing(Client(running))) for _ in range(count)]
