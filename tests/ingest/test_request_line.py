"""A push's address without end: refused before it takes memory."""

import socket
from contextlib import closing, suppress

import pytest

from tests.conftest import Store
from tests.support.ingest_process import ROOT, run_function

MIB = 1 << 20


def refusal(port: int, address: bytes) -> bytes:
    """What the server says to a request for the address, which it need not read to its end."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as wire:
        with suppress(ConnectionError):
            wire.sendall(b"POST %b HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % address)
        return wire.recv(13)


@pytest.mark.parametrize("function", ["ingest", "project"])
def test_a_push_has_no_address_without_end(store: Store, function: str) -> None:
    source = ROOT / "functions" / function / "main.py"
    with run_function(store.url, source=source, target=function) as running:
        before = running.most_memory()
        for length in (10_000, MIB, 20 * MIB):
            assert refusal(running.port, b"/?" + length * b"a") == b"HTTP/1.1 414 "
        assert running.most_memory() - before < 3 * MIB
