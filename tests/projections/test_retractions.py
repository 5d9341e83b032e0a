"""An event that its learner retracts counts nowhere, as if it had never been published."""

import uuid
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import Projector
from tests.oracle.events import event_uuid
from tests.support import definition_folds, model_rows, sample_events
from tests.support.sample_events import Envelope
from tests.support.stage import append

LATER = sample_events.BEGIN + timedelta(days=30)


def retract(event_id: str, user: str = "ann") -> Envelope:
    data = {"user_id": user, "retracted_event_id": event_id}
    return sample_events.envelope("EventRetracted", data, at=LATER)


@pytest.mark.parametrize("sent", ["answer-1", "ANSWER-1", "é" * 60])
@pytest.mark.parametrize("is_uuid", [True, False])
def test_a_retraction_names_an_event_by_the_id_with_which_it_was_published(
    connection: Connection, sent: str, *, is_uuid: bool
) -> None:
    goal = sample_events.choices("ann")[1] | {"event_id": sent}
    append(connection, [goal])
    Projector(connection).catch_up_all()
    append(connection, [retract(str(event_uuid(sent)).upper() if is_uuid else sent)])
    batch.run(connection)
    assert model_rows.read_rows(connection)["goals"] == {}
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("")
@example("x" * 200)
@example("x" * 201)
@example("é" * 55 + "x" * 2)
@example("6BA7B812-9dad-11d1-80b4-00c04fd430c8")
@example("6BA7B812-9dad-11d1-80b4-00c04fd430c8\n")
def test_the_id_of_an_event_is_computed_as_ingest_computes_it(
    connection: Connection, text: str
) -> None:
    found = connection.run("SELECT event_store.event_uuid(:text)", text=text)[0][0]
    assert found == (event_uuid(text) if 1 <= len(text) <= 200 else None)


@pytest.mark.parametrize("length", range(30, 50))
def test_the_id_of_a_text_that_ends_near_a_block_of_the_hash(
    connection: Connection, length: int
) -> None:
    found = connection.run("SELECT event_store.event_uuid(:text)", text="x" * length)[0][0]
    assert found == uuid.uuid5(uuid.NAMESPACE_OID, "x" * length)
