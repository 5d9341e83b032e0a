"""A request line that is too long is rejected before it takes memory."""

import socket
from contextlib import closing, suppress

import pytest

from tests.conftest import Store
from tests.support.ingest_process import ROOT, run_function

MIB = 1 << 20


def status_line(port: int, address: bytes) -> bytes:
    """Request this address and return the status line; the server may stop reading early."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        with suppress(ConnectionError):
            connection.sendall(
                b"POST %b HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % address
            )
        return connection.recv(13)


@pytest.mark.parametrize("function", ["ingest", "project"])
def test_a_long_request_line_gets_414_and_is_not_held_in_memory(
    store: Store, function: str
) -> None:
    source = ROOT / "functions" / function / "main.py"
    with run_function(store.url, source=source, target=function) as running:
        before = running.peak_memory()
        for length in (10_000, MIB, 20 * MIB):
            assert status_line(running.port, b"/?" + length * b"a") == b"HTTP/1.1 414 "
        assert running.peak_memory() - before < 3 * MIB
