"""The query function's role records what is a learner's own, and nothing else."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pg8000.exceptions import DatabaseError

from progress.adapters.postgres.database import Connection
from progress.event_store import events
from tests.conftest import Store
from tests.support.postgres_servers import url_of
from tests.support.stage import connect

Entry = dict[str, Any]
AT = "2024-05-01T12:00:00+00:00"


def entry(kind: str = "GoalSet", at: str | None = AT, **data: Any) -> Entry:
    made = {"event_id": str(uuid.uuid4()), "event_type": kind, "metadata": {}}
    return made | {"data": data or {"answers_per_day": 5}} | ({"occurred_at": at} if at else {})


class Log:
    """The log, its owner's connection, and one of the query function's role."""

    def __init__(self, owner: Connection, query: Connection) -> None:
        self.owner, self.query = owner, query

    def append(self, *entries: object, learner: str | None = "ann", **more: Any) -> dict[str, Any]:
        values = dict.fromkeys(("expected_version", "is_mutation", "seen_version", "seen")) | more
        ((row,),) = self.query.run(
            "SELECT to_jsonb(a) FROM event_store.append_own(:learner, CAST(:entries AS jsonb), "
            ":expected_version, coalesce(:is_mutation, false), :seen_version, :seen) AS a",
            learner=learner,
            entries=json.dumps(entries),
            **values,
        )
        return dict(row)

    def choose(self, entry: Entry, **more: Any) -> dict[str, Any]:
        return self.append(entry, is_mutation=True, **more)

    def code(self, *entries: object, **more: Any) -> str:
        with pytest.raises(DatabaseError) as error:
            self.append(*entries, **more)
        return str(error.value.args[0]["C"])

    def rows(self) -> list[Any]:
        rows: list[Any] = self.owner.run(
            "SELECT event_id::text, stream_id, occurred_at, metadata FROM event_store.events "
            "ORDER BY global_position"
        )
        return rows

    def count(self, table: str) -> int:
        return len(self.owner.run(f"SELECT FROM event_store.{table}"))


@pytest.fixture
def log(store: Store) -> Iterator[Log]:
    with (
        closing(connect(store.url)) as owner,
        closing(connect(url_of(store.url, "query"))) as query,
    ):
        yield Log(owner, query)


FORBIDDEN: dict[str, object] = {
    "another stream": entry() | {"stream_id": "learner-bob"},
    "the catalogue's stream": entry("ItemListed", list_id="l", item_id="i")
    | {"stream_id": "list-l"},
    "a learner of its own": entry() | {"learner": "bob"},
    "a session of its own": entry() | {"session_id": "s"},
    "posted by somebody": entry() | {"metadata": {"posted_by": "school"}},
    "posted by the learner": entry() | {"metadata": {"posted_by": "learner"}},
    "posted by, beside": entry() | {"posted_by": "learner"},
    "a position": entry() | {"global_position": 7},
    "a version": entry() | {"stream_version": 7},
    "another learner": entry(answers_per_day=5, user_id="bob"),
    "a learner that is no text": entry(answers_per_day=5, user_id=["ann"]),
    "another learner in the metadata": entry() | {"metadata": {"user_id": "bob"}},
    "no data": entry() | {"data": None},
    "no metadata": entry() | {"metadata": []},
    "a list": [],
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_an_entry_that_no_learner_may_post_raises_and_nothing_is_recorded(
    log: Log, name: str
) -> None:
    assert log.code(entry(), FORBIDDEN[name], entry()) == "42501"
    assert log.count("events") == 0


def test_a_post_needs_a_learner_and_a_mutation_one_choice_without_a_time(log: Log) -> None:
    for learner in (None, ""):
        assert log.code(entry(), learner=learner) == "42501"
    answer = entry("CorrectAnswerGiven", None, session_id="s", item_id="i")
    for entries in ([], [entry(at=None)] * 2, [entry()], [answer]):
        assert log.code(*entries, is_mutation=True) == "42501"
    assert log.count("events") == 0


def test_exactly_the_types_that_learners_post_are_taken(log: Log) -> None:
    for name in (*events.EVENT_TYPES, "Undeclared", None):
        sent = entry(session_id=f"{uuid.uuid4()}") | {"event_type": name}
        if name in events.LEARNERS_POST:
            log.append(sent)
        else:
            assert log.code(sent) == "42501", name
    assert log.count("events") == len(events.LEARNERS_POST)


def test_a_post_is_the_learners_and_repeats_without_effect(log: Log) -> None:
    sent = [entry(), entry("SessionStarted", session_id="s"), entry(answers_per_day=6)]
    first = log.append(*sent)
    assert first["outcomes"] == {"appended": 3, "redelivered": 0}
    assert log.append(*sent)["outcomes"] == {"appended": 0, "redelivered": 3}
    assert [row[:2] for row in log.rows()] == [[e["event_id"], "learner-ann"] for e in sent]
    assert [row[3] for row in log.rows()] == [{"posted_by": "learner"}] * 3
    assert log.owner.run("SELECT * FROM event_store.sessions") == [["s", "ann"]]
    ((shard,),) = log.owner.run("SELECT event_store.shard_of('learner-ann')")
    assert first["shards"] == [shard]


def test_what_would_be_a_dead_letter_is_refused_and_written_nowhere(log: Log) -> None:
    log.append(entry("SessionStarted", session_id="theirs"), learner="bob")
    ahead = entry(at=(datetime.now(UTC) + timedelta(minutes=11)).isoformat())
    soon = entry(at=(datetime.now(UTC) + timedelta(minutes=9)).isoformat())
    told = log.append(entry(), ahead, soon, entry("SessionStarted", session_id="theirs"))
    assert told["outcomes"] == {"appended": 2, "redelivered": 0}
    (late, _, clock), (other, reason, none) = told["refused"]
    assert (late, other, none) == (1, 3, None)
    assert abs(datetime.fromisoformat(clock) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "first SessionStarted" in reason
    assert log.append(ahead)["outcomes"] == {}
    assert (log.count("events"), log.count("dead_letters")) == (3, 0)


def test_a_mutation_has_the_time_of_its_append_and_is_recorded_once(log: Log) -> None:
    sent, before = entry(at=None), datetime.now(UTC)
    first = log.choose(sent)
    ((id_, stream, at, metadata),) = log.rows()
    assert (id_, stream) == (sent["event_id"], "learner-ann")
    assert metadata == {"occurred_at_source": "publish_time"}
    assert before <= at <= datetime.now(UTC)
    again = log.choose(sent)
    assert (first["outcomes"], again["outcomes"]) == ({"appended": 1}, {"redelivered": 1})
    assert first["global_position"] == again["global_position"] == 1
    others = (
        sent | {"data": {"answers_per_day": 6}},
        sent | {"event_type": "ItemSetAside", "data": {"item_id": "i"}},
    )
    for other in others:
        assert log.code(other, is_mutation=True) == "PR003"
    assert log.code(sent, learner="bob", is_mutation=True) == "PR003"
    assert (len(log.rows()), log.count("learner_conflicts"), log.count("dead_letters")) == (1, 0, 0)


CHOICES = st.lists(
    st.tuples(
        st.sampled_from(["GoalSet", "ItemSetAside", "ItemResumed"]),
        st.sampled_from("ij"),
        st.integers(0, 9).map(lambda minutes: timedelta(minutes=minutes)),  # of a phone's clock
        st.booleans(),  # whether the mutation's caller has seen it
    ),
    max_size=6,
)


@example(posted=[("ItemSetAside", "i", timedelta(minutes=9), False)], kind="GoalSet")
@example(posted=[("GoalSet", "i", timedelta(minutes=9), False)], kind="GoalSet")
@given(posted=CHOICES, kind=st.sampled_from(["GoalSet", "ItemSetAside", "ItemResumed"]))
def test_a_choice_follows_every_recorded_one_about_the_same(
    log: Log, posted: list[tuple[str, str, timedelta, bool]], kind: str
) -> None:
    learner, now = str(uuid.uuid4()), datetime.now(UTC)
    same = {"ItemResumed": "ItemSetAside"}
    seen, version, latest = None, 0, datetime.min.replace(tzinfo=UTC)
    for name, item, ahead, is_seen in sorted(posted, key=lambda each: not each[3]):
        log.append(entry(name, (now + ahead).isoformat(), item_id=item), learner=learner)
        if same.get(name, name) == same.get(kind, kind) and (item == "i" or kind == "GoalSet"):
            latest = max(latest, now + ahead)
            seen = latest if is_seen else seen
        version += is_seen
    chosen = entry(kind, None, item_id="i")
    log.choose(chosen, learner=learner, seen_version=version, seen=seen)
    (at,) = (row[2] for row in log.rows() if row[0] == chosen["event_id"])
    earliest = latest + timedelta(microseconds=1)
    assert earliest <= at <= max(earliest, datetime.now(UTC))
