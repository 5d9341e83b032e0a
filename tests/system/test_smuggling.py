"""The ingest and query functions reject ambiguous request framing and compression bombs."""

import gzip
import socket
from contextlib import closing

import pytest

from tests.conftest import Store
from tests.ingest.test_ingest import letters
from tests.support import api, function_process
from tests.support.function_process import FunctionProcess

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKED, EMPTY = b"Transfer-Encoding: chunked", b"0\r\n\r\n"

SMUGGLING: dict[str, tuple[bytes, bytes]] = {
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 0", b"12345" + HIDDEN),
    "a list of lengths": (b"Content-Length: 5, 0", b"12345" + HIDDEN),
    "a length and chunks": (b"Content-Length: 5\r\n" + CHUNKED, EMPTY + HIDDEN),
    "chunks and a length": (CHUNKED + b"\r\nContent-Length: 100", EMPTY + HIDDEN),
    "a coding that is almost chunked": (b"Transfer-Encoding: xchunked", EMPTY + HIDDEN),
    "a space before the colon": (
        b"Transfer-Encoding : chunked\r\nContent-Length: 5",
        EMPTY + HIDDEN,
    ),
    "a length with a plus sign": (b"Content-Length: +5", b"12345" + HIDDEN),
    "a negative length": (b"Content-Length: -1", HIDDEN),
    "a length in Python's notation": (b"Content-Length: 0_5", b"12345" + HIDDEN),
    "a folded line": (b"X-A: b\r\n c\r\nContent-Length: 5", b"12345" + HIDDEN),
    "a chunk whose size is no number": (CHUNKED, b"zz\r\nx\r\n" + HIDDEN),
    "a chunk without its end": (CHUNKED, b"1\r\nxyz" + HIDDEN),
    "a zero byte": (b"X-A: a\0b\r\nContent-Length: 5", b"12345" + HIDDEN),
}
CODINGS = {
    "two codings": b"Transfer-Encoding: gzip, chunked",
    "two lines": b"Transfer-Encoding: Deflate\r\n" + CHUNKED,
    "no coding": b"Transfer-Encoding: identity, chunked",
    "an unknown coding": b"Transfer-Encoding: br ,chunked",
}


def statuses(port: int, path: bytes, headers: bytes, body: bytes) -> list[int]:
    received = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        wire.sendall(b"POST %b HTTP/1.1\r\nHost: here\r\n%b\r\n\r\n%b" % (path, headers, body))
        while piece := wire.recv(65_536):
            received += piece
    codes = [part.split(b" ", 1)[0] for part in received.split(b"HTTP/1.1 ")[1:]]
    return [int(status) for status in codes]


def test_ambiguous_framing_is_rejected(store: Store, query_process: FunctionProcess) -> None:
    with function_process.run("ingest", {"DATABASE_URL": store.url}, forks=True) as ingest:
        for port, path in ((ingest.port, b"/"), (query_process.port, b"/graphql")):
            for name, (headers, body) in SMUGGLING.items():
                assert statuses(port, path, headers, body) in ([400], [501]), (path, name)
            for name, headers in CODINGS.items():
                assert statuses(port, path, headers, EMPTY + HIDDEN) == [501], (path, name)
    assert letters(store) == []


def test_trailers_are_no_headers(store: Store, query_process: FunctionProcess) -> None:
    head = b"Connection: close\r\nContent-Type: application/json\r\n" + CHUNKED
    token = b"Authorization: " + api.headers()["authorization"].encode()
    body = b'1b\r\n{"query": "{ __typename }"}\r\n0\r\n'
    whole = body + b"\r\n"
    assert statuses(query_process.port, b"/graphql", head + b"\r\n" + token, whole) == [200]
    assert statuses(query_process.port, b"/graphql", head, body + token + b"\r\n\r\n") == [401]
    with function_process.run("ingest", {"DATABASE_URL": store.url}, forks=True) as running:
        other = b"X-Serverless-Authorization: Bearer x"
        assert statuses(running.port, b"/", head + b"\r\n" + other, whole) == [401]
        assert statuses(running.port, b"/", head, body + other + b"\r\n\r\n") == [204]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_ingest_and_query_do_not_decompress_bodies(
    store: Store, query_process: FunctionProcess, coding: bytes
) -> None:
    bomb = gzip.compress(b"[" + b"1," * 20_000_000 + b"1]")
    headers = b"Connection: close\r\nContent-Type: application/json\r\nContent-Encoding: %b\r\n"
    headers = headers % coding + b"Content-Length: %d" % len(bomb)
    with function_process.run("ingest", {"DATABASE_URL": store.url}) as running:
        before = running.peak_memory()
        assert statuses(running.port, b"/", headers, bomb) == [204]
        assert running.peak_memory() - before < 20_000_000
    assert [letter[:2] for letter in letters(store)] == [
        ["malformed", "expected a Pub/Sub push with a message - at $"]
    ]
    assert statuses(query_process.port, b"/graphql", headers, bomb)[0] >= 400
