"""The protocol messages that pg8000 sends to PostgreSQL for one statement."""

from collections.abc import Iterator
from contextlib import closing

from progress.adapters.postgres import database
from tests.support.postgres_wire import Wire, wire

__all__ = ["wire"]


def test_a_prepared_statement_takes_one_round_trip(wire: Wire) -> None:
    with closing(database.connect(wire.url)) as connection:
        statement = connection.prepare("SELECT CAST(:number AS int)")
        wire.sent = b""
        assert statement.run(number=1) == [[1]]
    # Bind, Execute and Sync. A Flush would cost another round trip.
    assert list(kinds(wire.sent))[:3] == [
        "B",
        "E",
        "S",
    ]


def kinds(sent: bytes) -> Iterator[str]:
    """Yield the types of the messages that were sent to the server."""
    while sent:
        yield chr(sent[0])
        sent = sent[1 + int.from_bytes(sent[1:5], "big") :]
