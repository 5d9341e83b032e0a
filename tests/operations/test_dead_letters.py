"""Dead letters, replayed by an operation."""

from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import batch, projector
from tests.support import model_rows, sample_events
from tests.support.operation_fixtures import Operator, blocks, fake_publisher, operator, result
from tests.support.stage import append

__all__ = ["fake_publisher", "operator"]


def letter_of(connection: Connection, event: dict[str, Any]) -> int:
    """The letter that an event became."""
    append(connection, [event])
    return max(letter.letter_id for letter in dead_letters.list_letters(connection))


@pytest.mark.every_postgres
def test_letters_are_replayed_and_those_that_fail_again_stay(
    operator: Operator, connection: Connection
) -> None:
    session = {"session_id": "s", "user_id": "dan", "item_count": 99_999}
    mended = letter_of(
        connection, sample_events.envelope("SessionStarted", session, at=sample_events.BEGIN)
    )
    bad = letter_of(
        connection,
        sample_events.envelope(
            "SessionStarted", {**session, "session_id": "t"}, at=sample_events.BEGIN
        ),
    )
    gone = letter_of(
        connection, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)
    )
    dead_letters.discard(connection, gone, "of no use")
    connection.run(blocks()["mend"], letter_id=mended)
    ids = ", ".join(f'"{each}"' for each in (gone, bad, mended))
    done = operator.done(operator.start("replayDeadLetters", f"ids: [{ids}]")["id"])
    told = result(done)
    assert told["replayed"] == [str(mended)]
    reasons = {each["id"]: each["reason"] for each in told["stay"]}
    assert reasons[str(bad)].endswith("at $.data.item_count")
    assert reasons[str(gone)] == f"dead letter {gone} was discarded: of no use"
    assert model_rows.read_value(connection, "head") == 1
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_a_poisoned_letter_is_replayed(operator: Operator, connection: Connection) -> None:
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    sample_events.record_lessons(connection, "ann")
    model_rows.read_value(connection, "poison", user="ann")
    projector.Projector(connection).catch_up_all()
    (letter,) = dead_letters.list_letters(connection)
    first = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    (stays,) = result(operator.done(first["id"]))["stay"]
    assert stays["id"] == str(letter.letter_id)
    assert stays["reason"].startswith("it still fails:")
    model_rows.read_value(connection, "mend")
    second = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    assert result(operator.done(second["id"])) == {
        "replayed": [str(letter.letter_id)],
        "stay": [],
    }
    assert model_rows.read_value(connection, "poisoned") is None
    batch.run(connection)
    assert not sample_events.find_differences(connection)
