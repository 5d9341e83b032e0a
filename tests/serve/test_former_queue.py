"""The queue of version 0.4 is recorded once, and its schema and login go."""

import json
from typing import Any

import pytest

from progress.adapters.postgres import migrations
from progress.adapters.postgres.database import Connection
from progress.serve import former_queue
from tests.support import sample_events

_INSERT = (
    "INSERT INTO transport.queue (subscription, message_id, message, attributes, is_dead) VALUES "
    "('projects/effect-local/subscriptions/' || :name, :message_id, :message, '{}', :is_dead)"
)
_COMMAND = b'{"command":"wake","shard":1}'


def queue(connection: Connection, *rows: tuple[str, str, object, bool]) -> None:
    """Give the database the queue that 0.4 left, and migrate it."""
    connection.execute_simple((migrations.FOLDER / "0017_transport.sql").read_text())
    for name, message_id, content, is_dead in rows:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        values = {"name": name, "message_id": message_id, "is_dead": is_dead}
        connection.run(_INSERT, message=data, **values)
    connection.execute_simple((migrations.FOLDER / "0024_no_transport.sql").read_text())


def has_schema(connection: Connection) -> bool:
    return bool(connection.run("SELECT to_regnamespace('transport') IS NOT NULL")[0][0])


def test_messages_for_ingest_are_recorded_once_and_the_rest_goes(connection: Connection) -> None:
    lesson = sample_events.lesson("ann", 1)
    own = sample_events.choices("bob")[1] | {"metadata": {"user_id": "bob"}}
    rows = (
        ("learning-events-ingest-sub", "1", lesson, False),
        ("user-events-ingest-sub-7", "2", lesson[0], True),  # a name of 0.3; given up, and repeated
        ("learner-events-ingest-sub", "3", [own], False),
        ("learning-events-ingest-sub", "4", b"no JSON", False),
        ("progress-projection-sub", "5", _COMMAND, False),
    )
    for _ in range(2):  # the second time as after a kill between the record and the removal
        queue(connection, *rows)
        assert has_schema(connection)
        former_queue.record(connection)
        assert not has_schema(connection)
    former_queue.record(connection)  # there is nothing left
    posted = "SELECT event_id::text, metadata ->> 'posted_by' FROM event_store.events"
    expected = dict.fromkeys((event["event_id"] for event in lesson), None)
    assert dict(connection.run(posted)) == expected | {own["event_id"]: "learner"}
    letters = connection.run("SELECT kind, message_id FROM event_store.dead_letters")
    assert letters == [["malformed", "4"]]


@pytest.mark.parametrize("rows", [(), (("progress-projection-sub", "1", _COMMAND, True),)])
def test_a_queue_without_messages_for_ingest_goes_with_the_migration(
    connection: Connection, rows: Any
) -> None:
    queue(connection, *rows)
    assert not has_schema(connection)
