"""Operations that replay dead letters."""

from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import batch, projector
from tests.support import model_rows, sample_events
from tests.support.operation_fixtures import Operator, blocks, result
from tests.support.stage import append


def append_letter(connection: Connection, event: dict[str, Any]) -> int:
    """Append an event that becomes a dead letter; return the id of the dead letter."""
    append(connection, [event])
    return max(letter.letter_id for letter in dead_letters.list_letters(connection))


@pytest.mark.every_postgres
def test_repaired_dead_letters_are_replayed_but_invalid_or_discarded_ones_stay(
    operator: Operator, connection: Connection
) -> None:
    session = {"session_id": "s", "user_id": "dan", "item_count": 99_999}
    valid = append_letter(
        connection, sample_events.envelope("SessionStarted", session, at=sample_events.BEGIN)
    )
    bad = append_letter(
        connection,
        sample_events.envelope(
            "SessionStarted", {**session, "session_id": "t"}, at=sample_events.BEGIN
        ),
    )
    discarded = append_letter(
        connection, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)
    )
    dead_letters.discard(connection, discarded, "of no use")
    connection.run(blocks()["fix payload"], letter_id=valid)
    ids = ", ".join(f'"{letter_id}"' for letter_id in (discarded, bad, valid))
    done = operator.run(operator.start("replayDeadLetters", f"ids: [{ids}]")["id"])
    outcome = result(done)
    assert outcome["replayed"] == [str(valid)]
    reasons = {letter["id"]: letter["reason"] for letter in outcome["stay"]}
    assert reasons[str(bad)].endswith("at $.data.item_count")
    assert reasons[str(discarded)] == f"dead letter {discarded} was discarded: of no use"
    assert model_rows.read_value(connection, "head") == 1
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_a_poisoned_event_is_replayed_when_it_can_be_folded(
    operator: Operator, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    projector.Projector(connection).catch_up_all()
    (letter,) = dead_letters.list_letters(connection)
    first = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    (stays,) = result(operator.run(first["id"]))["stay"]
    assert stays["id"] == str(letter.letter_id)
    assert stays["reason"].startswith("the event still fails:")
    model_rows.read_value(connection, "mend")
    second = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    assert result(operator.run(second["id"])) == {"replayed": [str(letter.letter_id)], "stay": []}
    assert model_rows.read_value(connection, "poisoned") is None
    batch.run(connection)
    assert not sample_events.find_differences(connection)
