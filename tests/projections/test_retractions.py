"""An event that its learner retracts counts nowhere, as if it had never been published."""

import itertools
from datetime import timedelta

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


def test_a_retraction_names_an_event_by_the_id_with_which_it_was_published(
    connection: Connection,
) -> None:
    for n, (sent, is_uuid) in enumerate(
        itertools.product(("answer-1", "ANSWER-1", "é" * 60), (True, False))
    ):
        goal = sample_events.choices(f"ann-{n}")[1] | {"event_id": f"{sent}{n}"}
        append(connection, [goal])
        Projector(connection).catch_up_all()
        named = str(event_uuid(goal["event_id"])).upper() if is_uuid else goal["event_id"]
        append(connection, [retract(named, f"ann-{n}")])
    batch.run(connection)
    assert model_rows.read_rows(connection)["goals"] == {}
    assert sample_events.find_differences(connection) == []
    assert definition_folds.find_differences(connection) == []


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("")
@example("x" * 39)  # the last length whose hash has one block
@example("x" * 40)
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
