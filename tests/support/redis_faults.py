"""Servers that do not reply as Redis does."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

# The bytes that a server sends in reply to every command; None if it accepts no connection.
ANSWERS = [
    pytest.param(None, id="nothing"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
    pytest.param(b"\x00\xff" * 1_000, id="noise"),
    pytest.param(b"$99999999999\r\nx", id="too long"),
    pytest.param(b"*1\r\n" * 20_000, id="too deep"),
    pytest.param(b":one\r\n", id="not a number"),
    pytest.param(b"x" * 70_000, id="no end"),
    pytest.param(b"+PO", id="half a reply"),
    pytest.param(b"-NOAUTH Authentication required.\r\n", id="no password"),
    pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", id="loading"),
]


@contextlib.contextmanager
def serve(answer: bytes | None, *, after: float = 0.0) -> Iterator[str]:
    """Run a server that receives a command, waits for `after` seconds and sends `answer`.

    If `answer` is None, the server accepts no connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        while answer is not None and connection.recv(65_536):
                            time.sleep(after)
                            connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
