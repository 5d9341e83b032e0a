"""An append drops the events of an erased learner."""

import hashlib
import hmac
import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError
from progress.event_store import dead_letters, envelope, owners
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.pushes import record_push

TABLES = ("events", "sessions", "pending", "dead_letters")
AT = sample_events.BEGIN
OLD = {"occurred_at": "1999-01-01T00:00:00Z"}  # ingest rejects an event with this time
LATE = {"occurred_at": "2199-01-01T00:00:00Z"}


def append(connection: Connection, *events: Any, **options: Any) -> dict[str, int]:
    payload = events[0] if len(events) == 1 else [*events]
    outcomes = record_push(connection, payload, **options).outcomes
    return {name: count for name, count in outcomes.items() if count}


def forbid(connection: Connection, learner: str) -> bytes:
    digest, _ = connection.run(
        "SELECT digest, erased_at FROM event_store.forbid_learner(:learner, :operation)",
        learner=learner,
        operation=str(uuid.uuid4()),
    )[0]
    assert isinstance(digest, bytes)
    return digest


def started(user: str, session: str) -> dict[str, Any]:
    data = {"user_id": user, "session_id": session, "item_count": 1}
    return sample_events.envelope("SessionStarted", data, at=AT)


def answered(session: str, item: str = "i1") -> dict[str, Any]:
    data = {"session_id": session, "item_id": item, "response_time_ms": 1}
    return sample_events.envelope("CorrectAnswerGiven", data, at=AT)


def abandoned(user: str) -> dict[str, Any]:
    data = {"user_id": user, "session_id": "s-1"}
    return sample_events.envelope("SessionAbandoned", data, at=AT)


def bundle(*entries: str) -> bytes:
    """Return an array in which these entries follow as many faulty ones as get letters."""
    return f"[{','.join([*['0'] * envelope.MOST_REJECTIONS, *entries])}]".encode()


def contents(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    return {table: model_rows.read_table(connection, f"event_store.{table}") for table in TABLES}


@pytest.mark.every_postgres
def test_the_digest_of_a_learner_id_is_an_hmac_with_the_erasure_key(connection: Connection) -> None:
    inner, outer = connection.run("SELECT inner_key, outer_key FROM event_store.erasure_key")[0]
    key = bytes(byte ^ 0x36 for byte in inner)
    assert key == bytes(byte ^ 0x5C for byte in outer)
    assert len({*key[:32]}) > 10
    assert not any(key[32:])
    (digest,) = connection.run("SELECT event_store.erasure_digest('ü-1')")[0]
    assert digest == hmac.new(key[:32], "ü-1".encode(), hashlib.sha256).digest()
    # A restored key replaces the database's own.
    connection.run("INSERT INTO event_store.erasure_key VALUES ('\\x01', '\\x02')")
    rows = connection.run("SELECT inner_key, outer_key FROM event_store.erasure_key")
    assert rows == [[b"\x01", b"\x02"]]


def test_forbidding_a_learner_appends_one_deletion(connection: Connection) -> None:
    append(connection, *sample_events.lesson("ann", 1))
    forbid(connection, "ann")
    forbid(connection, "ann")
    last = model_rows.read_table(connection, "event_store.events")[-1]
    assert (last["stream_id"], last["event_type"]) == ("learner-ann", "UserDeleted")
    assert len(contents(connection)["events"]) == len(sample_events.lesson("ann", 1)) + 1


@pytest.mark.every_postgres
def test_an_event_that_names_an_erased_learner_is_dropped(connection: Connection) -> None:
    append(connection, started("ann", "s-1"), answered("s-1"))
    forbid(connection, "ann")
    before = contents(connection)
    named = answered("s-9") | {"metadata": {"user_id": "ann"}}
    assert append(connection, named) == {"erased": 1}
    assert append(connection, abandoned("ann"), started("ann", "s-2")) == {"erased": 2}
    assert append(connection, answered("s-1")) == {"erased": 1}
    assert append(connection, answered("s-2"), answered("s-2")) == {"erased": 2}
    after = contents(connection)
    hidden = after["sessions"].pop()
    assert (hidden["user_id"], len(hidden["session_id"])) == ("", 64)
    assert after == before


def test_events_of_other_learners_in_the_same_batch_are_appended(connection: Connection) -> None:
    """The session of the other learner has the id of the erased one."""
    append(connection, started("ann", "a-1"))
    forbid(connection, "ann")
    batch = [
        answered("ann"), started("ann", "a-2"), answered("a-1"), answered("a-2"),
        started("ben", "ann"), answered("ann"), answered("a-2"),
        sample_events.item_published("i-1"),
    ]  # fmt: skip
    assert append(connection, *batch) == {"appended": 3, "pending": 1, "erased": 4}
    assert append(connection, *batch) == {"redelivered": 4, "erased": 4}
    assert "pending" not in append(connection, answered("a-2"))


def test_a_dropped_session_start_does_not_change_the_learner_of_a_known_session(
    connection: Connection,
) -> None:
    append(connection, started("ann", "a-1"), started("ben", "b-1"))
    forbid(connection, "ann")
    assert append(connection, started("ann", "b-1"), answered("b-1")) == {
        "appended": 1,
        "erased": 1,
    }
    assert append(connection, started("ben", "a-1")) == {"erased": 1}


@pytest.mark.every_postgres
def test_pending_events_are_deleted_if_the_start_of_their_session_is_dropped(
    connection: Connection,
) -> None:
    append(connection, started("ann", "a-1"))
    forbid(connection, "ann")
    assert append(connection, answered("a-2"), answered("b-1")) == {"pending": 2}
    assert append(connection, started("ann", "a-2")) == {"erased": 1}
    assert [row["session_id"] for row in contents(connection)["pending"]] == ["b-1"]
    assert append(connection, answered("a-2")) == {"erased": 1}


def test_of_a_field_that_occurs_twice_the_last_one_decides(connection: Connection) -> None:
    forbid(connection, "ann")
    ann, ben = '"data": {"user_id": "ann"}', '"metadata": {"user_id": "ben"}'
    other = f'{{{ann}, "data": {{}}, {ben}}}'
    assert append(connection, f"{{{ben}, {ann}}}".encode()) == {"erased": 1}
    assert append(connection, other.encode()) == {"malformed": 1}
    assert [letter["payload"] for letter in letters(connection)] == [other]


def test_what_nobody_can_decode_is_nobodys() -> None:
    """Neither the learner's whom it names, nor another's."""
    for text in [
        '{"event_id": "e", "data": {"user_id": "ann", "sess',
        '{"specversion": "1.0", "userid": "ann", "data_base64": "YW5u"}',
        json.dumps(abandoned("ann") | OLD | {"event_data": 1}),
    ]:
        assert owners.find(text.encode(), {"user_id": "ann"}) == owners.UNKNOWN


def emptied(text: str) -> dict[str, object]:
    content = text.encode()
    return {
        "payload": "", "attributes": {}, "event_id": None, "event_type": None, "indexes": None,
        "owners": [], "emptied_bytes": len(content),
        "emptied_sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip


def test_a_restore_empties_only_the_undecodable_letters_from_before_the_last_erasure(
    connection: Connection,
) -> None:
    append(connection, b"before")
    redact_letters(connection, None)
    assert letters(connection)[0]["payload"] == "before"  # nobody is erased
    forbid(connection, "ann")
    append(connection, b"after")
    redact_letters(connection, None)
    assert [letter["payload"] for letter in letters(connection)] == ["", "after"]


def test_the_oldest_letters_are_emptied_first(connection: Connection) -> None:
    texts = [json.dumps("x" * 1_000_000)] * 6
    theirs = json.dumps(abandoned("ann") | OLD)
    for body in [*(text.encode() for text in (*texts, theirs)), bundle("{}", theirs)]:
        append(connection, body)
    connection.run(
        "UPDATE event_store.dead_letters SET received_at = received_at - interval '9 days'"
    )
    append(connection, b"young")
    before = letters(connection)
    sql = "SELECT event_store.empty_old_letters(:days, 2000)"
    assert connection.run(sql, days=10) == [[0]]
    assert letters(connection) == before
    counts = [connection.run(sql, days=9)[0][0] for _ in range(3)]
    assert counts == [5, 1 + envelope.MOST_REJECTIONS, 0]
    after = letters(connection)
    assert after[:6] == [letter | emptied(letter["payload"]) for letter in before[:6]]
    assert after[6] == before[6]
    assert after[-2:] == before[-2:]
    with pytest.raises(EventStoreError, match=re.escape(before[0]["reason"])):
        dead_letters.replay(connection, after[0]["letter_id"])


def test_an_erasure_and_the_ageing_of_letters_do_not_deadlock(
    connection: Connection, store: Store
) -> None:
    """One letter is undecodable; the next is the learner's. Both wait for the first letter."""
    append(connection, b"first")
    append(connection, abandoned("ann") | OLD)
    digest = forbid(connection, "ann")
    with (
        closing(store.connect()) as ageing,
        closing(store.connect()) as erasing,
        closing(store.connect()) as reader,
        ThreadPoolExecutor() as pool,
    ):
        pids = [c.run("SELECT pg_backend_pid()")[0][0] for c in (ageing, erasing)]
        connection.run("BEGIN")
        connection.run("SELECT FROM event_store.dead_letters WHERE payload = 'first' FOR UPDATE")
        try:
            aged = pool.submit(ageing.run, "SELECT event_store.empty_old_letters(0, 10)")
            model_rows.wait_for_lock(reader, pids[0], aged)
            erased = pool.submit(redact_letters, erasing, digest)
            model_rows.wait_for_lock(reader, pids[1], erased)
        finally:
            connection.run("COMMIT")
        assert (aged.result(), erased.result()) == ([[1]], None)
    assert [letter["payload"] for letter in letters(connection)] == ["", ""]


def test_a_dead_letter_is_emptied_if_its_replay_is_dropped(connection: Connection) -> None:
    """The replay comes before the erasure has redacted the learner's dead letters."""
    append(connection, started("ann-1", "a-9"))
    assert append(connection, answered("a-9") | LATE) == {"future": 1}
    forbid(connection, "ann-1")
    connection.run("UPDATE event_store.dead_letters SET due_at = now()")
    stored = str(letters(connection)[0]["payload"]).replace("2199", "2024")
    connection.run("UPDATE event_store.dead_letters SET payload = :stored", stored=stored)
    assert dead_letters.replay_due(connection) == 1
    (emptied,) = letters(connection)
    assert (emptied["payload"], emptied["discard_reason"]) == ("", "erased")


def faulty(session: str) -> dict[str, Any]:
    return {"event_type": "CorrectAnswerGiven", "data": {"session_id": session, "note": "\0"}}


def test_a_dead_letter_is_dropped_if_another_append_drops_the_start_of_its_session_meanwhile(
    connection: Connection, store: Store
) -> None:
    """The append judges dead letters under its lock."""
    forbid(connection, "ann")
    with closing(store.connect()) as other, ThreadPoolExecutor() as pool:
        other_pid = other.run("SELECT pg_backend_pid()")[0][0]
        connection.run("BEGIN")
        append(connection, started("ann", "a"))
        waiting = pool.submit(append, other, faulty("a"), faulty("b"))
        try:
            with closing(store.connect()) as reader:
                model_rows.wait_for_lock(reader, other_pid, waiting)
        finally:
            connection.run("COMMIT")
        assert waiting.result() == {"invalid": 1, "erased": 1}
    assert [letter["index_in_message"] for letter in letters(connection)] == [1]


def letters(connection: Connection) -> list[dict[str, Any]]:
    return sorted(contents(connection)["dead_letters"], key=lambda letter: letter["letter_id"])


def redact_letters(connection: Connection, digest: bytes | None) -> None:
    """Redact the learner's dead letters or, if `digest` is None, those of all erased learners."""
    connection.run(
        "SELECT event_store.redact_letters_of(CAST(:digest AS bytea), 0, 10000)", digest=digest
    )


def count_letters(connection: Connection, digest: bytes) -> tuple[int, int]:
    """Return the number of the learner's letters, and of others' entries in their bundles."""
    sql = "SELECT letter_ids, bundled FROM event_store.letters_of(:digest, 0, 0)"
    ((ids, bundled),) = connection.run(sql, digest=digest)
    return len(ids or []), bundled
