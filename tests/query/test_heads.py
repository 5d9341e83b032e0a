"""Endless request heads are rejected before they fill the memory, late heads at a deadline."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import repeat
from pathlib import Path

import psutil
import pytest

from progress.local import ports, readiness
from tests.query.test_process import DOOR, connection, fetch_json, port, started
from tests.support import api, token_issuer

__all__ = ["connection", "port"]

MIB = 1 << 20
POST = b"POST /graphql HTTP/1.1\r\nHost: here\r\n"
LINE = b"X-A: " + b"a" * 1_000 + b"\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n1\r\n{\r\n"

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "headers": (POST, LINE),
    "one header": (POST + b"X-A: ", b"a" * 1_000),
    "a name": (POST, b"a" * 1_000),
    "an address": (b"GET /graphql?query=", b"a" * 1_000),
    "trailers": (POST + CHUNKS + b"0\r\n", LINE),
    "a chunk's extension": (POST + CHUNKS + b"1;", b"a" * 1_000),
    "a second request's headers": (b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n" + POST, LINE),
}


def send(port: int, pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """Send the pieces; return the number of bytes that were accepted, and the response."""
    sent, answer = 0, b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        with suppress(ConnectionError):
            for piece in pieces:
                wire.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionError):
            while piece := wire.recv(65_536):
                answer += piece
    return sent, answer


def endless(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """Yield about 20 MiB of a request."""
    yield begin
    yield from repeat(64 * piece, 20 * MIB // (64 * len(piece)))


def peak_memory(port: int) -> int:
    """Return the peak memory of the processes that serve this port, in bytes."""
    held = [p for p in psutil.Process().children(recursive=True) if str(port) in p.cmdline()]
    kept = [Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in held]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in kept)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ENDLESS)
def test_the_query_function_does_not_read_an_endless_head(port: int, name: str) -> None:
    before = peak_memory(port)
    assert before
    sent, _ = send(port, endless(*ENDLESS[name]))
    assert sent < 10 * MIB  # `sent` also counts the bytes in the system's socket buffers
    assert peak_memory(port) - before < 3 * MIB


def test_the_query_function_rejects_a_large_head_with_431(port: int) -> None:
    for head in (POST + 100 * LINE, b"GET /graphql?query=" + 100_000 * b"a"):
        assert send(port, iter([head]))[1].startswith(b"HTTP/1.1 431 ")


def test_the_query_function_reads_a_head_of_60_kib(port: int) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: here\r\n" + 60 * LINE + b"Connection: close\r\n\r\n"
    for step in (100, 60_000, len(head)):
        pieces = (head[at : at + step] for at in range(0, len(head), step))
        assert send(port, pieces)[1].startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[int]:
    """The port of a query function that waits half a second for a head."""
    text = DOOR.read_text()
    assert "server.limit_heads()" in text
    source, port = tmp_path / "main.py", ports.reserve()
    source.write_text(text.replace("server.limit_heads()", "server.limit_heads(timeout_s=0.5)"))
    with token_issuer.serve() as issuer:
        variables = issuer.environment("postgresql:///nowhere")
        with started(tmp_path, port, source, **variables):
            readiness.wait(lambda: ports.is_listening(port), "the query function")
            yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def read_until_closed(wire: socket.socket) -> bytes:
    answer = b""
    while piece := wire.recv(65_536):
        answer += piece
    return answer


def test_a_connection_without_a_complete_head_is_closed_at_the_deadline(hasty: int) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"
    with (
        closing(connect(hasty)) as silent,
        closing(connect(hasty)) as half,
        closing(connect(hasty)) as late,
        closing(connect(hasty)) as slow,
    ):
        half.sendall(POST)
        late.sendall(whole)
        assert late.recv(13) == b"HTTP/1.1 200 "
        late.sendall(POST)
        slow.sendall(POST + b"X-A: ")
        slow.settimeout(0.01)
        with suppress(ConnectionError):
            while True:
                slow.send(b"a")
                with suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert read_until_closed(silent) == read_until_closed(half) == b""
        assert b"HTTP" not in read_until_closed(late)
        assert fetch_json(hasty, "GET", "/health")[0] == 200


def test_the_deadline_of_a_head_does_not_limit_the_body(hasty: int) -> None:
    body = b'{"query": "{ __typename }"}'
    headers = api.headers("ann") | {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = POST + lines.encode() + b"\r\n"
    with closing(connect(hasty)) as late:
        late.sendall(head + body[:1])
        for _ in range(2):
            with closing(connect(hasty)) as silent:
                assert read_until_closed(silent) == b""  # after half a second
        late.sendall(body[1:])
        assert late.recv(13) == b"HTTP/1.1 200 "
