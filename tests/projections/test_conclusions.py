"""Conclusions are replaced by their definition; rows that stay the same are not written."""

from datetime import timedelta

from progress.adapters.postgres.database import Connection
from progress.projections import schema
from progress.projections.projector import Projector
from tests.support import model_rows
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.stage import append


def session(day: int, number: int = 0) -> Envelope:
    """Return a completed session of Ann's."""
    data = {
        "user_id": "ann",
        "session_id": f"{day} {number}",
        "score": 80,
        "duration_seconds": 60,
    }
    return envelope("SessionCompleted", data, at=BEGIN + timedelta(days=day))


def written_by(connection: Connection, *events: Envelope) -> list[str]:
    """Fold the events; return the conclusions of which they wrote a row."""
    before = _places(connection)
    append(connection, [*events])
    Projector(connection).catch_up_all()
    after = _places(connection)
    return [name for name in before if before[name] != after[name]]


def _places(connection: Connection) -> dict[str, list[list[object]]]:
    """Return the place of each row of each conclusion, and the last transaction that wrote it."""
    return {
        name: connection.run(model_rows.BLOCKS["places"].replace("{table}", name))
        for name in schema.list_conclusions()
    }


def test_an_event_writes_no_row_that_stays_the_same(connection: Connection) -> None:
    assert written_by(connection, *(session(day) for day in (1, 2, 8, 9)))
    assert written_by(connection, session(9, 1)) == []
    (early,) = connection.run("SELECT ctid FROM learning_streaks ORDER BY starts LIMIT 1")
    assert written_by(connection, session(10)) == ["learning_streaks", "milestones"]
    assert written_by(connection, session(11)) == ["learning_streaks"]
    assert connection.run("SELECT ctid FROM learning_streaks WHERE ctid = :place", place=early[0])


def test_a_refold_writes_no_row_that_stays_the_same(connection: Connection) -> None:
    assert written_by(connection, *(session(day) for day in (1, 2, 8, 9)))
    moved = {"user_id": "ann", "timezone": "Europe/Berlin"}
    preferences = envelope("UserPreferencesChanged", moved, at=BEGIN)
    assert written_by(connection, preferences) == []
