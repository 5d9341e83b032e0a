"""Appending events in batches gives each event the same outcome as appending it alone."""

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import zip_longest
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.errors import ConsistencyError, EventStoreError, SerializationError
from progress.event_store import Appended
from progress.event_store import log as event_log
from progress.event_store.log import PostgresEventStore
from progress.ingest import push
from progress.projections import batch as models_batch
from tests.conftest import Store
from tests.support import recovery_fixtures, sample_events, stage
from tests.support.envelopes import answer, envelope, reshape, session_started
from tests.support.event_logs import Log, logs
from tests.support.pushes import encode_push
from tests.support.stage import Stage, append, undeclared

FUTURE = "2100-01-01T00:00:00Z"
SHARD = 11  # of learner-u
Envelope = dict[str, Any]


@dataclass
class Content:
    type: str
    data: dict[str, Any]
    occurred_at: str | None  # None if the event has no time; the publish time is then used
    learner: str | None
    session: str | None

    def is_same(self, other: "Content", whose: str | None) -> bool:
        """Return whether `other` repeats this event; `whose` is the learner of `other` if known."""
        return (
            (self.type, self.data) == (other.type, other.data)
            and (
                None in (self.occurred_at, other.occurred_at)
                or self.occurred_at == other.occurred_at
            )
            and (None in (self.learner, whose) or self.learner == whose)
        )


@dataclass
class Outcomes:
    # the stream and the id of each event, in the order of positions
    log: list[tuple[str, UUID]] = field(default_factory=list)
    stored: dict[UUID, Content] = field(default_factory=dict)
    pending: dict[UUID, Content] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    letters: dict[tuple[str, int], str] = field(default_factory=dict)
    # ids of the delivered events that were appended or were already in the log
    touched: set[UUID] = field(default_factory=set)

    def deliver(self, message_id: str, events: list[Envelope]) -> None:
        for index, event in enumerate(events):
            kind = self._take(event)
            if kind is not None:
                self.letters.setdefault((message_id, index), kind)

    def _take(self, event: Envelope) -> str | None:
        identity, content = UUID(event["event_id"]), _content(event)
        whose = content.learner or self.sessions.get(content.session or "")
        if identity in self.stored and self.stored[identity].is_same(content, whose):
            self.touched.add(identity)
            return None
        if identity in self.pending and self.pending[identity].is_same(content, whose):
            if whose is not None:
                self._append(identity, self.pending.pop(identity), whose)
            return None
        if content.data.get("response_time_ms", 0) < 0:
            return "invalid"
        if identity in self.stored or identity in self.pending:
            self.touched |= {identity} & self.stored.keys()
            return "conflict"
        if content.occurred_at == FUTURE:
            return "future"
        return self._record(identity, content, whose)

    def _record(self, identity: UUID, content: Content, whose: str | None) -> str | None:
        owner = self.sessions.get(content.session or "")
        if content.type == "SessionStarted" and owner not in (None, whose):
            return "session_owner"
        if whose is None and content.type == "CorrectAnswerGiven":
            self.pending[identity] = content
            return None
        self._append(identity, content, whose)
        if content.type == "SessionStarted" and owner is None and whose and content.session:
            self.sessions[content.session] = whose
            for waiting in [i for i, c in self.pending.items() if c.session == content.session]:
                self._append(waiting, self.pending.pop(waiting), whose)
        return None

    def _append(self, identity: UUID, content: Content, whose: str | None) -> None:
        content.learner = whose
        self.stored[identity] = content
        if content.type == "ItemArchived":
            stream = f"item-{content.data['item_id']}"
        else:
            stream = f"learner-{whose}" if whose else f"other-{content.type}"
        self.log.append((stream, identity))
        self.touched.add(identity)


def _content(event: Envelope) -> Content:
    data, of_item = event["data"], event["event_type"] == "ItemArchived"
    return Content(
        type=event["event_type"],
        data=data,
        occurred_at=event.get("occurred_at"),
        learner=None if of_item else data.get("user_id") or event["metadata"].get("user_id"),
        session=None if of_item else data.get("session_id"),
    )


pytestmark = pytest.mark.every_postgres

IDS = [str(uuid.UUID(int=n)) for n in range(1, 6)]
TYPES = ["SessionStarted", "CorrectAnswerGiven", "CorrectAnswerGiven", "Weird", "ItemArchived"]


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    event_type = draw(st.sampled_from(TYPES))
    data: dict[str, Any] = {"session_id": draw(st.sampled_from(["s1", "s2"]))}
    metadata = {}
    if event_type == "SessionStarted":
        data |= {"user_id": draw(st.sampled_from(["u1", "u2"])), "item_count": 1}
    elif event_type == "ItemArchived":
        data = {"item_id": "i"}
    elif event_type == "CorrectAnswerGiven":
        data |= {"item_id": "i", "response_time_ms": draw(st.sampled_from([1, 1, 1, 2, -1]))}
    if event_type != "SessionStarted" and draw(st.integers(0, 3)) == 0:
        metadata["user_id"] = draw(st.sampled_from(["u1", "u2"]))
    moment = draw(st.sampled_from(["2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z", None, FUTURE]))
    return {
        "event_id": draw(st.sampled_from(IDS) | st.uuids().map(str)),
        "event_type": event_type,
        "data": data,
        "metadata": metadata,
        **({} if moment is None else {"occurred_at": moment}),
    }


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[tuple[str, list[Envelope]]]]:
    contents = draw(st.lists(st.lists(envelopes(), min_size=1, max_size=5), min_size=1, max_size=6))
    again = draw(st.lists(st.sampled_from(range(len(contents))), max_size=3))
    order = draw(st.permutations([*range(len(contents)), *again]))
    cuts = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    batches: list[list[tuple[str, list[Envelope]]]] = [[]]
    for number, cut in zip(order, cuts, strict=True):
        batches[-1].append((f"m{number}", contents[number]))
        if cut:
            batches.append([])
    return batches


@pytest.fixture
def log(store: Store) -> Iterator[Connection]:
    """A connection to an empty store, in which the append-only trigger is disabled."""
    connection = store.connect()
    connection.run("SET synchronous_commit = off")
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    yield connection
    connection.close()


def deliver(connection: Connection, *bodies: bytes) -> Appended:
    return event_log.append(connection, [push.parse_delivery(body) for body in bodies])


@pytest.mark.every_postgres(in_gate=True)
@given(batches=deliveries())
def test_appends_in_any_batches_have_the_same_outcomes_as_single_appends(
    log: Connection, batches: list[list[tuple[str, list[Envelope]]]]
) -> None:
    log.run(
        "TRUNCATE event_store.events, event_store.sessions, event_store.pending, "
        "event_store.dead_letters"
    )
    expected, seconds = Outcomes(), itertools.count(10)  # each delivery has its own publish time
    for batch in batches:
        expected.touched.clear()
        for message_id, events in batch:
            expected.deliver(message_id, events)
        appended = deliver(
            log,
            *(
                encode_push(events, message_id=name, publish_time=f"2024-05-01T00:00:{n}Z")
                for (name, events), n in zip(batch, seconds, strict=False)
            ),
        )
        assert set(appended.shards) == shards_of(log, expected.touched)
    rows = log.run("SELECT stream_id, event_id FROM event_store.events ORDER BY global_position")
    assert [tuple(row) for row in rows] == expected.log
    assert {r[0] for r in log.run("SELECT event_id FROM event_store.pending")} == set(
        expected.pending
    )
    assert dict(log.run("SELECT * FROM event_store.sessions")) == expected.sessions
    letters = log.run("SELECT message_id, index_in_message, kind FROM event_store.dead_letters")
    assert {(m, i): kind for m, i, kind in letters} == expected.letters
    assert is_dense(log)


def shards_of(connection: Connection, event_ids: set[uuid.UUID]) -> set[int]:
    rows = connection.run("SELECT event_id, shard FROM event_store.events")
    return {shard for event_id, shard in rows if event_id in event_ids}


def is_dense(connection: Connection) -> bool:
    """Return whether positions and versions have no gaps and recorded times never decrease."""
    rows = PostgresEventStore(connection).read_all_events(1, 100_000)
    versions: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        versions[row.stream_id] = versions.get(row.stream_id, 0) + 1
        if (row.global_position, row.stream_version) != (number, versions[row.stream_id]):
            return False
    times = [row.created_at for row in rows]
    return times == sorted(times)


def ids(connection: Connection) -> list[str]:
    return [str(e.event_id) for e in PostgresEventStore(connection).read_all_events(1, 1_000)]


def test_the_json_of_a_redelivered_event_is_compared_by_value(log: Connection) -> None:
    head = b'{"event_id":"e","event_type":"Weird","occurred_at":"2024-01-01T00:00:00Z","data":'
    deliver(log, encode_push(head + b'{"a":1,"b":[1e2,"\xc3\xa9"]}}'))
    appended = deliver(log, encode_push(head + b'{"b":[100, "\\u00e9"], "a" : 1.0}}'))
    assert appended.outcomes == {"redelivered": 1}


@given(drawn=logs(size=12), forms=st.lists(st.sampled_from(["", "recorded", "flat", "cloud"])))
def test_recorded_events_that_are_published_again_as_they_are_printed_are_redeliveries(
    stage: Stage, drawn: Log, forms: list[str]
) -> None:
    stage.sweep()
    with undeclared():
        append(
            stage.admin,
            [
                reshape(event, form) if form else event
                for event, form in zip_longest(drawn.envelopes, forms[: len(drawn.envelopes)])
            ],
        )
    recorded = PostgresEventStore(stage.admin).read_all_events(1, 100)
    printed = b"[%b]" % b",".join(map(msgspec.json.encode, recorded))
    outcomes = deliver(stage.admin, encode_push(printed)).outcomes
    assert {name: count for name, count in outcomes.items() if count} == (
        {"redelivered": len(recorded)} if recorded else {}
    )


def test_a_redelivery_is_recognized_even_if_the_current_rules_reject_the_event(
    log: Connection,
) -> None:
    event = session_started("s", "u")
    deliver(log, encode_push(event))
    log.run("""UPDATE event_store.events SET event_data = event_data || '{"item_count": -9}'""")
    event["data"]["item_count"] = -9
    again = deliver(log, encode_push(event))
    assert (again.outcomes, again.shards) == ({"redelivered": 1}, [SHARD])
    assert log.run("SELECT count(*) FROM event_store.dead_letters") == [[0]]
    event["data"]["item_count"] = -8
    assert deliver(log, encode_push(event)).outcomes == {"invalid": 1}


def test_a_redelivery_is_recognized_if_the_event_was_recorded_before_group_ids_were_checked(
    log: Connection,
) -> None:
    joined = envelope("LearnerJoinedGroup", {"user_id": "u", "group_id": 5})
    answered = answer(metadata={"user_id": "u"})
    answered["data"]["group_id"] = ""
    with stage.undeclared():
        deliver(log, encode_push([joined, answered]))
    assert deliver(log, encode_push([joined, answered])).outcomes == {"redelivered": 2}
    joined["data"]["group_id"] = 6
    assert deliver(log, encode_push([joined, answered])).outcomes == {
        "invalid": 1,
        "redelivered": 1,
    }


def test_appending_to_a_stream_checks_the_expected_version(log: Connection) -> None:
    append = PostgresEventStore(log).append_events
    assert append("learner-u", [session_started("s", "u"), answer("s")], 0).stream_version == 2
    with pytest.raises(ConsistencyError, match="expected the stream at version 1, found it at 2"):
        append("learner-u", [answer("s")], 1)
    assert len(ids(log)) == 2
    assert append("learner-u", [answer("s")], 2).stream_version == 3


def test_appending_to_a_stream_appends_all_events_or_none(log: Connection) -> None:
    append, known = PostgresEventStore(log).append_events, session_started("s", "u")
    append("learner-u", [known])
    with pytest.raises(ConsistencyError, match="event_id"):
        append("learner-u", [answer("s"), known | {"occurred_at": "2024-03-02T00:00:00Z"}])
    with pytest.raises(SerializationError, match=r"event 1: expected .* at \$\.data\.user_id"):
        append("learner-u", [answer("s"), session_started(data={"session_id": "s"})])
    found = "expected an event of learner-u, found one of learner-other; the streams are learner-U"
    with pytest.raises(SerializationError, match=found):
        append("learner-u", [session_started("s", "other")])
    with pytest.raises(SerializationError, match=r"names no learner; the streams are .* item-ITEM"):
        append("session-s", [answer("s")])
    assert ids(log) == [known["event_id"]]


def test_an_event_without_an_id_or_a_time_gets_both(log: Connection) -> None:
    store, known = PostgresEventStore(log), session_started("s", "u")
    bare, timeless = answer("s"), answer("s")
    del bare["event_id"], bare["occurred_at"], timeless["occurred_at"]
    begun = datetime.now(UTC)
    appended = store.append_events("learner-u", [known, bare, bare, timeless])
    stored = store.read_events("learner-u")
    assert appended.event_ids == [event.event_id for event in stored]
    assert len({*appended.event_ids}) == 4
    for event in stored[1:]:
        assert begun <= event.occurred_at <= datetime.now(UTC)
    again = store.append_events("learner-u", [known, bare, timeless])
    assert again.outcomes == {"appended": 1, "redelivered": 2}
    newest = store.read_events("learner-u")[-1].event_id
    assert again.event_ids == [appended.event_ids[0], newest, appended.event_ids[3]]


ODD_ID = "%s:x{y}\\'\u202e" + 190 * "\U0001f600"


def test_the_learner_of_a_stream_needs_a_valid_id(log: Connection) -> None:
    """The events of an answer name no learner, so that only the stream does."""
    store = PostgresEventStore(log)
    for learner in ("", 201 * "x", "a\0b", "\ud800"):
        with pytest.raises(SerializationError, match="stream_id"):
            store.append_events(f"learner-{learner}", [answer()])
    assert store.append_events(f"learner-{ODD_ID}", [answer()]).stream_version == 1
    assert models_batch.run(log).swept == 1
    assert len(store.read_events(f"learner-{ODD_ID}")) == 1


def test_values_that_cannot_be_stored_are_rejected(log: Connection) -> None:
    for value in [float("nan"), 10**400, "\ud800", "a\0b", object()]:
        event = answer()
        event["data"]["said"] = value
        with pytest.raises(SerializationError, match="expected a "):
            PostgresEventStore(log).append_events("learner-u", [event])
        assert not ids(log)


def test_a_value_that_cannot_be_sent_leaves_the_connection_usable(log: Connection) -> None:
    store = PostgresEventStore(log)
    for name in ("ann", "bob"):
        store.append_events(f"learner-{name}", [session_started(f"s-{name}", name)])
    too_early = datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))
    for fail in (
        lambda: store.read_events("\udcff"),
        lambda: store.get_latest_snapshot("learner-ann", "\udcff"),
        lambda: store.read_events_by_type("SessionStarted", too_early),
    ):
        with pytest.raises(SerializationError, match="expected values that PostgreSQL has"):
            fail()
        for stream in ("learner-ann", "learner-bob"):
            assert [event.stream_id for event in store.read_events(stream)] == [stream]


def test_the_error_about_a_rejected_row_does_not_show_its_contents(log: Connection) -> None:
    log.run("ALTER TABLE event_store.events ADD CHECK (event_data ->> 'said' IS NULL)")
    started = session_started("s", "u")
    started["data"]["said"] = "hush-hush"
    with pytest.raises(EventStoreError, match="violates check constraint") as refused:
        deliver(log, encode_push([started]))
    assert "hush" not in str(refused.value)


def test_events_can_be_read_by_global_position_or_stream_or_type(log: Connection) -> None:
    events = [session_started("s", "u"), answer("s"), session_started("t", "v"), answer("s")]
    deliver(log, encode_push(events[:2]))
    between = datetime.now(UTC)
    deliver(log, encode_push(events[2:]))
    store, by_type = PostgresEventStore(log), PostgresEventStore(log).read_events_by_type
    early, later = (datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2100))
    whole = store.read_all_events(1, 10)
    assert store.read_all_events(2, 2) == whole[1:3]
    assert store.read_events("learner-u", 2) == [whole[1], whole[3]]
    assert store.read_events("learner-u", 1, 2) == whole[:2]
    assert by_type("SessionStarted", early) == [whole[0], whole[2]]
    assert by_type("SessionStarted", early, between) == [whole[0]]
    assert by_type("SessionStarted", between) == [whole[2]]
    assert by_type("CorrectAnswerGiven", early, limit=1) == [whole[1]]
    assert by_type("SessionStarted", later) == []
    assert whole[0].event_data == events[0]["data"]


def test_recorded_times_never_decrease_even_if_the_clock_moves_back(connection: Connection) -> None:
    """The clock was a day ahead when the last event was recorded."""
    sample_events.record_lessons(connection, "ann")
    connection.run(recovery_fixtures.BLOCKS["let the log be changed"])
    connection.run(
        "UPDATE event_store.events SET created_at = clock_timestamp() + INTERVAL '1 day' "
        "WHERE global_position = (SELECT max(global_position) FROM event_store.events)"
    )
    stage.append(connection, [{}, *sample_events.lesson("ann", 9)])
    models_batch.run(connection)
    assert is_dense(connection)
    assert not sample_events.find_differences(connection)
