"""A rejected entry has one dead letter, which can be replayed often but discarded only once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError
from progress.event_store import dead_letters
from progress.event_store import log as event_log
from progress.event_store.dead_letter_record import DeadLetter
from progress.event_store.log import PostgresEventStore
from progress.ingest import push
from tests.conftest import Store
from tests.support.envelopes import envelope, session_started
from tests.support.pushes import encode_push


@pytest.fixture
def log(store: Store) -> Iterator[Connection]:
    connection = store.connect()
    yield connection
    connection.close()


def deliver(connection: Connection, body: bytes) -> dict[str, int]:
    return event_log.append(connection, [push.parse_delivery(body)]).outcomes


def one(connection: Connection) -> DeadLetter:
    (letter,) = dead_letters.list_letters(connection)
    return letter


def recorded(connection: Connection) -> list[str]:
    return [str(e.event_id) for e in PostgresEventStore(connection).read_all_events(1, 100)]


def test_a_redelivered_message_does_not_create_a_second_dead_letter(log: Connection) -> None:
    body = encode_push([session_started(data={}), session_started(), {}], message_id="m")
    for _ in range(3):
        deliver(log, body)
    kinds = [(x.kind, x.index_in_message) for x in dead_letters.list_letters(log)]
    assert kinds == [("invalid", 0), ("malformed", 2)]
    twice = push.parse_delivery(encode_push(b"?", message_id="n"))
    event_log.append(log, [twice, twice])
    assert len(dead_letters.list_letters(log)) == 3


def test_a_conflict_keeps_the_contents_of_both_events(log: Connection) -> None:
    first = session_started()
    second = {**first, "data": {**first["data"], "item_count": 2}}
    deliver(log, encode_push([first, second]))
    letter = one(log)
    assert (letter.kind, letter.reason) == (
        "conflict",
        "expected the same content as the first event with this event_id - at $.event_id",
    )
    assert json.loads(letter.payload)["data"] == second["data"]
    assert PostgresEventStore(log).read_all_events(1, 9)[0].event_data == first["data"]


def test_a_dead_letter_that_has_become_valid_is_replayed(log: Connection) -> None:
    late = session_started()
    deliver(log, encode_push({**late, "data": {**late["data"], "item_count": 99_999}}))
    letter = one(log)
    assert dead_letters.replay(log, letter.letter_id) == letter.reason
    # The event becomes valid, as if the rule had been relaxed.
    log.run("UPDATE event_store.dead_letters SET payload = replace(payload, '99999', '9')")
    assert dead_letters.replay(log, letter.letter_id) is None
    assert recorded(log) == [late["event_id"]]
    assert dead_letters.list_letters(log) == []
    assert dead_letters.replay(log, letter.letter_id) is None
    assert recorded(log) == [late["event_id"]]


def test_a_replay_uses_the_attributes_and_the_publish_time_of_the_message(log: Connection) -> None:
    body = {"data": {"session_id": "s", "item_count": 99_999}}
    attributes = {"event_id": "e-1", "event_type": "SessionStarted", "user_id": "u"}
    deliver(log, encode_push(body, attributes=attributes))
    log.run("UPDATE event_store.dead_letters SET payload = replace(payload, '99999', '9')")
    assert dead_letters.replay(log, one(log).letter_id) is None
    (stored,) = PostgresEventStore(log).read_events("learner-u", 1)
    assert stored.metadata["source_id"] == "e-1"
    assert stored.occurred_at == datetime(2024, 5, 1, 12, tzinfo=UTC)
    body["data"]["item_count"] = 9
    assert deliver(log, encode_push(body, attributes=attributes)) == {"redelivered": 1}


def test_a_future_event_is_appended_when_it_is_due(log: Connection) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=11)
    deliver(log, encode_push(session_started(occurred_at=ahead.isoformat())))
    letter = one(log)
    assert letter.kind == "future"
    assert letter.due_at == ahead - timedelta(minutes=10)
    assert dead_letters.replay_due(log) == 0
    # Instead of waiting eleven minutes, move the event time and the due time back.
    log.run(
        "UPDATE event_store.dead_letters SET due_at = due_at - interval '1 hour', "
        "payload = jsonb_set(payload::jsonb, '{occurred_at}', to_jsonb(now()))::text"
    )
    assert dead_letters.replay_due(log) == 1
    assert recorded(log) == [letter.event_id]
    assert dead_letters.replay_due(log) == 0


def test_a_due_dead_letter_becomes_a_conflict_if_its_event_id_is_stored_with_other_content(
    log: Connection,
) -> None:
    late = session_started(occurred_at="2100-01-01T00:00:00Z")
    deliver(log, encode_push(late))
    deliver(log, encode_push({**late, "occurred_at": "2024-01-01T00:00:00Z"}))
    log.run("UPDATE event_store.dead_letters SET due_at = now()")
    assert dead_letters.replay_due(log) == 0
    assert one(log).kind == "conflict"
    assert dead_letters.replay_due(log) == 0


def test_a_session_start_becomes_a_dead_letter_if_another_learner_started_the_session(
    log: Connection,
) -> None:
    deliver(
        log,
        encode_push([session_started(), session_started(user="v")]),
    )
    letter = one(log)
    assert letter.kind == "session_owner"
    assert letter.reason.endswith("at $.data.user_id")
    assert dead_letters.replay(log, letter.letter_id) == letter.reason


def test_a_dead_letter_can_be_discarded_only_once(log: Connection) -> None:
    deliver(log, encode_push(b"?"))
    letter = one(log)
    dead_letters.discard(log, letter.letter_id, "a test of the publisher's")
    assert dead_letters.list_letters(log) == []
    closed = dead_letters.read(log, letter.letter_id)
    assert closed.discard_reason == "a test of the publisher's"
    assert dead_letters.list_letters(log, include_closed=True) == [closed]
    for unknown in (letter.letter_id, 99):
        with pytest.raises(EventStoreError, match="no open dead letter"):
            dead_letters.discard(log, unknown, "again")
    with pytest.raises(EventStoreError, match="no dead letter 99"):
        dead_letters.replay(log, 99)


def test_a_poisoned_event_becomes_a_dead_letter_and_can_be_included_in_folds_again(
    log: Connection,
) -> None:
    deliver(log, encode_push(session_started()))
    for _ in range(2):
        log.run("SELECT event_store.quarantine(1, 'division by zero')")
    letter = one(log)
    assert (letter.kind, letter.reason) == ("poisoned", "division by zero")
    with pytest.raises(EventStoreError, match="include it in folds again and refold it"):
        dead_letters.replay(log, letter.letter_id)
    assert dead_letters.release(log, letter.letter_id) == 1
    assert dead_letters.list_letters(log) == []
    assert dead_letters.release(log, letter.letter_id) is None
    log.run("SELECT event_store.quarantine(1, 'again')")
    assert one(log).reason == "again"


def test_no_unmasked_email_address_is_stored(log: Connection) -> None:
    good = envelope("UserCreated", {"user_id": "u", "email": "plain@b.org"})
    deliver(log, encode_push([good, {**good, "data": {"user_id": "u", "email": "plain@c.org"}}]))
    deliver(log, encode_push({**good, "event_id": "x", "occurred_at": "2100-01-01T00:00:00Z"}))
    deliver(
        log, encode_push({**good, "event_id": "y", "data": {"user_id": 5, "email": "plain@b.org"}})
    )
    deliver(log, encode_push(b"plain@b.org"))
    rows = log.run(
        "SELECT string_agg(t::text, '') FROM ("
        " SELECT to_jsonb(e) FROM event_store.events e"
        " UNION ALL SELECT to_jsonb(d) FROM event_store.dead_letters d) t"
    )
    assert "plain" not in rows[0][0]
    assert rows[0][0].count("p***@") == 5


def test_a_discarded_dead_letter_is_not_replayed(log: Connection) -> None:
    deliver(log, encode_push([session_started(data={})]))
    letter = one(log)
    dead_letters.discard(log, letter.letter_id, "of no use")
    with pytest.raises(EventStoreError, match="was discarded: of no use"):
        dead_letters.replay(log, letter.letter_id)
