"""The mark of retracted events in the audit trail, which follows from the log alone."""

from typing import Any

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from tests.support import sample_events, stage
from tests.support.api import Api
from tests.support.sample_events import Envelope

EVENTS = """query ($id: ID) {
  events(userId: $id, first: 200) { edges { node { eventId eventType retracted } } } }"""
AT = sample_events.BEGIN


def event(kind: str, user: str = "ann", **data: Any) -> Envelope:
    return sample_events.envelope(kind, {"user_id": user, **data}, at=AT)


def retract(event_id: str, user: str = "ann") -> Envelope:
    return event("EventRetracted", user, retracted_event_id=event_id)


def list_retracted(api: Api, user: str = "ann") -> set[str]:
    data = api.post(EVENTS, "ada", roles="admin", id=user)["data"]
    return {e["node"]["eventId"] for e in data["events"]["edges"] if e["node"]["retracted"]}


def test_the_audit_trail_marks_the_events_that_a_recorded_retraction_names(
    query_api: Api, connection: Connection
) -> None:
    session: dict[str, Any] = {"session_id": "s", "score": 50, "duration_seconds": 1}
    started = event("SessionStarted", session_id="s", item_count=1)
    first, second = (event("SessionCompleted", **session) for _ in range(2))
    left, kept = event("LearnerLeftGroup", group_id="g"), event("GoalSet", answers_per_day=1)
    rejected = event("GoalSet", answers_per_day=1_001)
    of_bob = event("GoalSet", "bob", answers_per_day=1)
    of_a_retraction = retract(kept["event_id"], "bob")
    named = (started, first, second, left, rejected, of_bob, of_a_retraction)
    with stage.undeclared():
        stage.append(connection, [rejected])
    stage.append(connection, [started, first, second, left, kept, of_bob, of_a_retraction])
    assert list_retracted(query_api) == set()
    stage.append(connection, [retract(each["event_id"]) for each in named])
    assert list_retracted(query_api) == {
        each["event_id"] for each in (first, second, left, rejected)
    }
    assert list_retracted(query_api, "bob") == set()


def test_a_poisoned_event_is_marked_and_a_poisoned_or_rejected_retraction_marks_nothing(
    query_api: Api, connection: Connection
) -> None:
    stage.append(connection, sample_events.lesson("ann", 1))
    poisoned = sample_events.poison(connection, "ann")
    ((event_id,),) = connection.run(
        "SELECT event_id FROM event_store.events WHERE global_position = :at", at=poisoned
    )
    Projector(connection).catch_up_all()
    stage.append(connection, [retract(str(event_id))])
    assert list_retracted(query_api) == {str(event_id)}
    started = event("SessionStarted", "bob", session_id="s", item_count=1)
    goal = event("GoalSet", "bob", answers_per_day=1)
    of_nobody = retract(goal["event_id"])  # in bob's stream only because it names bob's session
    of_nobody["data"] = {"session_id": "s", "retracted_event_id": goal["event_id"]}
    with stage.undeclared():
        stage.append(connection, [started, goal, of_nobody])
    assert list_retracted(query_api, "bob") == set()
    stage.append(connection, [retraction := retract(goal["event_id"], "bob")])
    assert list_retracted(query_api, "bob") == {goal["event_id"]}
    connection.run(
        "SELECT event_store.mark_poisoned(schema_fingerprint(), global_position, 'x') "
        "FROM event_store.events"
        " WHERE event_id = CAST(:id AS uuid)",
        id=retraction["event_id"],
    )
    assert list_retracted(query_api, "bob") == set()
