"""A rejected entry has one dead letter, which can be replayed often but discarded only once.

A bundle is one dead letter for all faulty entries after 999.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable, EventStoreError
from progress.event_store import dead_letters
from progress.event_store import log as event_log
from progress.event_store.dead_letter_record import DeadLetter
from progress.event_store.entries import TIME_SOURCE, Message
from progress.event_store.log import PostgresEventStore
from progress.ingest import publisher_post, push
from tests.conftest import Store
from tests.support.envelopes import session_started
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


def recorded(connection: Connection) -> set[str]:
    return {str(e.event_id) for e in PostgresEventStore(connection).read_all_events(1, 10_000)}


def mend(connection: Connection, *, after: int = -1) -> None:
    """Make rejected entries valid, as if the rule that rejected them had been relaxed."""
    connection.run(
        "UPDATE event_store.dead_letters SET payload = replace(payload, ': -99999', ': 9') "
        "WHERE index_in_message > :after",
        after=after,
    )


@pytest.mark.parametrize("name", ["user_id", "session_id", "event_id"])
def test_a_letter_that_masks_an_id_is_not_replayed(log: Connection, name: str) -> None:
    """Otherwise, anna@example.com and alan@example.com would become one learner."""
    event: dict[str, Any] = session_started(items=-99999)
    (event if name == "event_id" else event["data"])[name] = "anna@example.com"
    assert deliver(log, encode_push(event)) == {"invalid": 1}
    mend(log)
    reason = str(dead_letters.replay(log, one(log).letter_id))
    assert "found a masked address: publish the event again" in reason
    assert (recorded(log), one(log).replayed_at) == (set(), None)


def test_letters_that_version_0_3_wrote_are_appended_if_they_had_no_id(
    log: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A posted one without an id stays malformed."""
    unnamed = [{"type": "UserDeleted", "user_id": f"{n}"} for n in range(3)]
    bodies = [
        encode_push({"event_type": "UserDeleted", "data": {"user_id": "v"}}, message_id="n"),
        encode_push([*unnamed, *[0] * 998, unnamed[0]], message_id="a"),
    ]
    with monkeypatch.context() as former:
        former.setattr(Message, "has_id", False)
        for body in bodies:
            deliver(log, body)
        event_log.append(
            log, [publisher_post.parse_delivery(bytearray(b'{"type": "New"}'), "application/json")]
        )
    assert recorded(log) == set()
    *letters, posted = waiting(log)
    for letter in letters:
        dead_letters.replay(log, letter.letter_id)
    names = ["n:0", *(f"a:{index}" for index in (0, 1, 2, 1_001))]
    assert recorded(log) == {
        str(uuid5(NAMESPACE_OID, f"pubsub:projects/p/subscriptions/s:{name}")) for name in names
    }
    assert sum(deliver(log, body)["redelivered"] for body in bodies) == 5
    reason = "expected event_id, found none - at $.event_id"
    assert dead_letters.replay(log, posted.letter_id) == reason


def test_a_valid_letter_is_replayed_once_with_the_attributes_and_the_time_of_its_message(
    log: Connection,
) -> None:
    body = {"data": {"session_id": "s", "item_count": -99_999}}
    attributes = {"event_id": "e-1", "event_type": "SessionStarted", "user_id": "u"}
    deliver(log, encode_push(body, attributes=attributes))
    letter = one(log)
    assert (letter.event_id, letter.event_type) == ("e-1", "SessionStarted")
    assert dead_letters.replay(log, letter.letter_id) == letter.reason
    mend(log)
    for _ in range(2):
        assert dead_letters.replay(log, letter.letter_id) is None
        assert dead_letters.list_letters(log) == []
    (stored,) = PostgresEventStore(log).read_events("learner-u", 1)
    assert stored.metadata["source_id"] == "e-1"
    assert stored.occurred_at == datetime(2024, 5, 1, 12, tzinfo=UTC)
    body["data"]["item_count"] = 9
    assert deliver(log, encode_push(body, attributes=attributes)) == {"redelivered": 1}


def test_a_future_event_is_appended_when_it_is_due(log: Connection) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=11)
    untimed = session_started(occurred_at=None)
    deliver(log, encode_push(untimed, publish_time=ahead.isoformat()))
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
    (stored,) = PostgresEventStore(log).read_events("learner-u", 1)
    assert (str(stored.event_id), stored.metadata[TIME_SOURCE]) == (letter.event_id, "publish_time")
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
    for _ in range(2):
        assert log.run("SELECT event_store.clear_marks(1, 'f')") == [[None]]
        assert dead_letters.list_letters(log) == []
    log.run("SELECT event_store.quarantine(1, 'again')")
    assert one(log).reason == "again"


def waiting(connection: Connection) -> list[DeadLetter]:
    return [
        letter
        for after in range(0, 10_000, 500)
        for letter in dead_letters.list_letters(connection, after=after, limit=500)
        if letter.letter_id <= after + 500
    ]


def held(letter: DeadLetter) -> list[Any]:
    entries: list[Any] = json.loads(letter.payload)
    assert isinstance(entries, list)
    return entries


def test_only_malformed_and_invalid_entries_are_bundled(log: Connection) -> None:
    first = session_started()
    conflict = {**first, "occurred_at": "2024-03-02T00:00:00Z"}
    future = session_started(occurred_at="2100-01-01T00:00:00Z")
    owner = session_started(data={**first["data"], "user_id": "v"})
    invalid = session_started(items=-99_999)
    array = [first, *[0] * 999, 1, first, invalid, conflict, {}, owner]
    array += [session_started(), 2, future]
    attributes = {"event_id": "no array's", "correlation_id": "c", "other": "x"}
    outcomes = deliver(log, encode_push(array, message_id="m", attributes=attributes))
    assert outcomes == {
        "appended": 2,
        "redelivered": 1,
        "malformed": 1_000,
        "conflict": 1,
        "future": 1,
        "session_owner": 1,
    }
    letters = waiting(log)
    assert Counter(letter.kind for letter in letters) == {
        "malformed": 1_000,
        "conflict": 1,
        "future": 1,
        "session_owner": 1,
    }
    (bundle,) = (letter for letter in letters if letter.indexes)
    assert (bundle.index_in_message, bundle.event_id, bundle.event_type) == (1_000, None, None)
    assert held(bundle) == [1, invalid, {}, 2]
    assert bundle.attributes == {"correlation_id": "c"}
    assert bundle.indexes == [[1_000, 1_000], [1_002, 1_002], [1_004, 1_004], [1_007, 1_007]]


def test_a_bundle_holds_the_received_entries_with_email_addresses_masked(log: Connection) -> None:
    entries = [
        r'"\nann@b.org"',
        r'{"a": "@ann", "b": "ann\u0040b.org", "\"a n\"@b.org": null}',
        r'{"event_id": "e", "event_type": "x", "data": {"text": "\u0000"}}',
        '"\\ud800"',
        "1.50",
        '"' + "x" * 1_100_000 + '"',
        "[[[[[[[1, 2]]]]]]]",
        '{"é": "😀"}',
    ]
    payload = "[" + ",".join(["0"] * 999) + " , " + " ,\n".join(entries) + " ]"
    deliver(log, encode_push(payload.encode()))
    bundle = waiting(log)[-1]
    masked = ",".join(entries).replace("\\nann@", "\\n***@").replace("ann\\u", "a***\\u")
    assert bundle.payload == "[" + masked.replace(r"\"a n\"@", r"\"***@") + "]"


def test_a_replay_appends_valid_entries_and_keeps_the_others_as_dead_letters(
    log: Connection,
) -> None:
    good = [session_started(items=-99_999) for _ in range(1_500)]
    array = [*[0] * 999, *good, *[{}] * 2_500]
    deliver(log, encode_push(array, message_id="m"))
    mend(log, after=998)
    bundle = waiting(log)[-1]
    for role in ("progress_batch", "progress_project"):
        log.run(f"SET ROLE {role}")
        assert dead_letters.replay(log, bundle.letter_id) is None
        log.run("RESET ROLE")
    assert recorded(log) == {event["event_id"] for event in good}
    letters = waiting(log)[999:]
    assert [letter.index_in_message for letter in letters] == [*range(2_499, 3_499)]
    assert {letter.reason for letter in letters[:-1]} == {
        "expected event_type, found none - at $.event_type"
    }
    assert letters[-1].indexes == [[3_498, 4_998]]
    assert held(letters[-1]) == [{}] * 1_501
    deliver(log, encode_push([*[0] * 999, *[{}] * 4_000], message_id="m"))
    assert waiting(log)[999:] == letters


def test_a_replayed_bundle_becomes_the_dead_letter_of_its_first_rejected_entry(
    log: Connection,
) -> None:
    first = session_started()
    conflict = {**first, "data": {**first["data"], "item_count": -99_999}}
    good = session_started(items=-99_999)
    deliver(log, encode_push([first, *[0] * 999, conflict, good, 1]))
    bundle = waiting(log)[-1]
    mend(log)
    reason = dead_letters.replay(log, bundle.letter_id)
    assert reason is not None
    assert "the first event with this event_id" in reason
    assert recorded(log) == {first["event_id"], good["event_id"]}
    conflicting, last = waiting(log)[999:]
    assert (conflicting.letter_id, conflicting.kind) == (bundle.letter_id, "conflict")
    assert json.loads(conflicting.payload)["data"] == first["data"] | {"item_count": 9}
    assert (conflicting.index_in_message, conflicting.indexes) == (1_000, None)
    assert (last.index_in_message, last.kind, last.payload) == (1_002, "malformed", "1")
    for _ in range(2):
        assert dead_letters.replay(log, bundle.letter_id) == reason
    assert waiting(log)[999:] == [conflicting, last]


@contextmanager
def stopped(store: Store, place: int) -> Iterator[None]:
    """Make inserts of one dead letter wait until the `with` block ends.

    The dead letter is that of the entry with index `place` in message m.
    """
    other = store.connect()
    other.run("BEGIN")
    other.run(
        "INSERT INTO event_store.dead_letters "
        "(kind, subscription, message_id, index_in_message, reason, payload) "
        "VALUES ('invalid', 'projects/p/subscriptions/s', 'm', :place, '', '')",
        place=place,
    )
    try:
        yield
    finally:
        other.run("ROLLBACK")
        other.close()


def await_blocked(log: Connection, backends: int) -> list[int]:
    while True:
        rows = log.run(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        )
        if len(rows or []) == backends:
            return [pid for (pid,) in rows]


@pytest.fixture
def half(log: Connection) -> tuple[DeadLetter, set[str]]:
    good = [session_started(items=-99_999) for _ in range(50)]
    deliver(log, encode_push([*[0] * 999, *good, *[1] * 50], message_id="m"))
    mend(log, after=998)
    return waiting(log)[-1], {event["event_id"] for event in good}


def replaying(store: Store, letter: DeadLetter) -> str | None:
    connection = store.connect()
    try:
        return dead_letters.replay(connection, letter.letter_id)
    finally:
        database.close(connection)  # the connection may have been killed


def test_a_replay_that_is_killed_changes_nothing(
    store: Store, log: Connection, half: tuple[DeadLetter, set[str]]
) -> None:
    bundle, good = half
    with ThreadPoolExecutor(1) as pool:
        with stopped(store, 1_049):
            killed: Future[str | None] = pool.submit(replaying, store, bundle)
            log.run("SELECT pg_terminate_backend(:pid)", pid=await_blocked(log, 1)[0])
            with pytest.raises(DatabaseUnavailable):
                killed.result()
            assert (recorded(log), waiting(log)[999:]) == (set(), [bundle])
        assert dead_letters.replay(log, bundle.letter_id) is None
    assert recorded(log) == good
    assert [letter.index_in_message for letter in waiting(log)[999:]] == [*range(1_049, 1_099)]


def test_a_bundle_is_replayed_once_despite_concurrent_replays_and_a_redelivery(
    store: Store, log: Connection, half: tuple[DeadLetter, set[str]]
) -> None:
    bundle, good = half
    again = encode_push([*[0] * 999, *[1] * 100], message_id="m")
    with ThreadPoolExecutor(3) as pool:
        with stopped(store, 1_049):
            tries = [pool.submit(replaying, store, bundle)]
            await_blocked(log, 1)
            tries.append(pool.submit(replaying, store, bundle))
            await_blocked(log, 2)
            redelivery = pool.submit(lambda: deliver(store.connect(), again))
            await_blocked(log, 3)
        assert [one.result() for one in tries] == [None, None]
        redelivery.result()
    assert recorded(log) == good
    assert [letter.index_in_message for letter in waiting(log)[999:]] == [*range(1_049, 1_099)]
