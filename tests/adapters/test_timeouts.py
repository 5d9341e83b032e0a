"""Callers do not wait forever for a database that hangs."""

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pg8000.exceptions
import pytest

from progress.adapters.postgres import database
from progress.errors import DatabaseUnavailable
from tests.conftest import Store
from tests.support.forwarding import Gate


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that accepts connections and sends nothing."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / ".s.PGSQL.5432"))
        listening.listen()
        yield f"postgresql://u@/d?host={tmp_path}"


def test_a_server_that_does_not_send_a_handshake_is_unavailable(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CONNECT_TIMEOUT_S", 0.1)
    with pytest.raises(DatabaseUnavailable):
        database.connect(silent)


def test_the_reason_for_a_rejection_is_reported_even_if_the_connection_is_closed(
    tmp_path: Path,
) -> None:
    fields = b"SFATAL\0C3D000\0Mthere is no such database\0\0"

    def refuse() -> None:
        wire, _ = listening.accept()
        with wire:
            wire.recv(1_024)
            wire.shutdown(socket.SHUT_RD)  # so that the client cannot send its next message
            wire.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)

    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(str(tmp_path / ".s.PGSQL.5432"))
        listening.listen()
        refusing = pool.submit(refuse)
        with pytest.raises(DatabaseUnavailable, match="/d: there is no such database") as fault:
            database.connect(f"postgresql://u@/d?host={tmp_path}")
        refusing.result()
    assert isinstance(fault.value.__cause__, pg8000.exceptions.DatabaseError)


def test_a_dead_server_is_noticed_within_about_a_minute(store: Store) -> None:
    with closing(Gate(store.url)) as gate:
        gate.open()
        connection = database.connect(gate.url)
        tcp = connection._usock
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            tcp.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        connection.close()
    assert idle + interval * count <= 60


def test_a_statement_timeout_is_a_transient_error(postgres: str) -> None:
    connection = database.connect(postgres, timeout_s=0.1)
    with pytest.raises(OSError, match="timed out") as fault:
        connection.run("SELECT pg_sleep(60)")
    assert database.read_failure(fault.value).is_transient
    connection.close()


def test_a_slow_statement_succeeds_if_no_timeout_is_set(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CONNECT_TIMEOUT_S", 2)
    connection = database.connect(postgres)
    assert connection.run("SELECT 1 FROM pg_sleep(2.2)") == [[1]]
    connection.close()


def test_the_server_cancels_a_statement_one_second_after_the_timeout_of_the_client(
    postgres: str,
) -> None:
    connection = database.connect(postgres, timeout_s=15)
    assert connection.run("SHOW statement_timeout") == [["16s"]]
    connection.close()
