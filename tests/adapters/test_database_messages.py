"""The messages that pg8000 sends for a statement."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.url import Address


def types_of(sent: bytes) -> Iterator[str]:
    """Yield the type of each message; a message has a byte for its type, its length, and data."""
    while sent:
        yield chr(sent[0])
        sent = sent[1 + int.from_bytes(sent[1:5]) :]


def test_a_statement_sends_no_flush(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, open_socket = bytearray(), database._open_socket

    class Recorder(socket.socket):
        def send(self, data: Any, *flags: Any) -> int:
            sent.extend(data)
            return super().send(data, *flags)

    def open_recorder(address: Address) -> socket.socket:
        recorder = Recorder(fileno=open_socket(address).detach())
        recorder.settimeout(10)
        return recorder

    monkeypatch.setattr(database, "_open_socket", open_recorder)
    connection = database.connect(postgres)
    sent.clear()
    assert connection.run("SELECT :n + 1", n=1) == [[2]]
    types = [*types_of(bytes(sent))]
    connection.close()
    assert {"P", "B", "E", "S"} <= {*types}  # Parse, Bind, Execute, Sync
    assert "H" not in types  # Flush
