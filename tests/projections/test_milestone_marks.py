"""Each recent milestone is told once, whatever is repeated, refolded, rebuilt or killed."""

import contextlib
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from progress.adapters.postgres.database import Connection
from progress.event_store import outgoing, publication
from progress.event_store.contract import schemas
from progress.projections import batch, rebuild
from progress.projections.projector import SHARDS, Projector
from tests import oracle
from tests.conftest import Store
from tests.oracle.days import day_of
from tests.support import model_rows, published, sample_events
from tests.support.fake_publisher import FakePublisher
from tests.support.published import Publisher
from tests.support.recent_events import ago, of, study
from tests.support.stage import Stage, append

pytestmark = pytest.mark.every_postgres

LEARNERS = ("ann", "bob", "una")  # ann and una are in the same shard
RECENT = timedelta(days=2)
SCHEMA = Draft202012Validator(schemas.make_published()["MilestoneReached"])


def act(user: str, action: str, days: int) -> list[dict[str, Any]]:
    """Return the events of an action that may reach a milestone, move one or remove one."""
    match action:
        case "goal":
            return [of("GoalSet", user, days, answers_per_day=1 + days % 3)]
        case "rest":
            return [of("RestDayTaken", user, 0, date=f"{ago(days):%Y-%m-%d}")]
        case "move":
            zone = ("Asia/Tokyo", "UTC", "America/Lima")[days % 3]
            return [of("UserPreferencesChanged", user, days, timezone=zone)]
        case "learn":
            return study(user, days, answers=10)
    return study(user, days, answers=days % 3)


def told(messages: list[PubsubMessage]) -> dict[str, list[dict[str, Any]]]:
    """Return each learner's milestones in the order in which they were first published."""
    seen, by_learner = set(), defaultdict(list)
    for message in messages:
        attributes = dict(message.attributes)
        if attributes["kind"] == "milestone" and attributes["ce-id"] not in seen:
            body = json.loads(message.data)
            assert SCHEMA.is_valid(body)
            assert message.ordering_key == f"learner-{body['user_id']}"
            seen.add(attributes["ce-id"])
            by_learner[body["user_id"]].append({"id": attributes["ce-id"], **body})
    return by_learner


STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["study", "study", "learn", "goal", "rest", "move"]),
        st.sampled_from(LEARNERS[:2]),
        st.integers(0, 6),
    ),
    st.tuples(
        st.sampled_from(["fold", "fold", "batch", "rebuild", "publish", *published.FAULTS]),
        st.just(""),
        st.integers(1, 5),
    ),
    st.tuples(st.just("delete"), st.just("una"), st.just(0)),
    st.tuples(st.just("study"), st.just("una"), st.integers(0, 3)),
)


@given(steps=st.lists(STEPS, min_size=4, max_size=20))
def test_whatever_fails_each_recent_milestone_is_published_once(
    stage: Stage, store: Store, steps: list[tuple[str, str, int]]
) -> None:
    stage.sweep()
    began = datetime.now(UTC)
    with (
        contextlib.closing(FakePublisher()) as pubsub,
        contextlib.closing(Publisher(store, pubsub, "milestones")) as publisher,
    ):
        for step, learner, number in steps:
            if learner == "una" and step == "delete":
                append(stage.admin, [sample_events.user_deleted(learner)])
            elif learner:
                append(stage.admin, act(learner, step, number))
            elif step == "fold":
                Projector(stage.admin).catch_up_all(limit=number)
            elif step == "batch":
                batch.fold(stage.admin, list(SHARDS))
            elif step == "rebuild":
                rebuild.run(store.connect, workers=1)
            elif step == "publish":
                publisher.run()
            else:
                publisher.run_and_fail(step, number)
        Projector(stage.admin).catch_up_all()
        batch.fold(stage.admin, list(SHARDS))
        publisher.run()
        check(stage.admin, pubsub.messages(outgoing.TOPIC), began)


def check(connection: Connection, messages: list[PubsubMessage], began: datetime) -> None:
    """Check what was told against the oracle, which knows only the last state of the log."""
    world = oracle.see(model_rows.read_events(connection), datetime.now(UTC))
    by_learner = told(messages)
    for learner in LEARNERS:
        earliest = min(day_of(world, learner, began), began.date()) - RECENT - timedelta(days=1)
        for milestone in by_learner[learner]:
            assert milestone["reached_on"] >= earliest.isoformat()
        ids = {milestone["id"] for milestone in by_learner[learner]}
        today = day_of(world, learner, datetime.now(UTC))
        wanted = {
            str(milestone["id"])
            for milestone in oracle.milestones(world, learner)
            # A change of the zone may have moved today: a milestone of the earliest day may have
            # been told or not.
            if milestone["reached_on"] > today - RECENT
        }
        assert wanted <= ids, (learner, wanted - ids)
    marks = connection.run(
        "SELECT user_id, kind, value, level, reached_on::text FROM event_store.milestone_marks "
        "WHERE is_told ORDER BY number"
    )
    deleted = {event.user_id for event in world.events if event.type == "UserDeleted"}
    for learner in {*LEARNERS} - deleted:
        expected = [[*mark[:5]] for mark in marks if mark[0] == learner]
        assert [
            [each[name] for name in ("user_id", "kind", "value", "level", "reached_on")]
            for each in by_learner[learner]
        ] == expected


def streak(user: str, days: int = 0) -> list[dict[str, Any]]:
    return [event for n in range(3) for event in study(user, days + n)]


def record(connection: Connection, events: list[dict[str, Any]]) -> None:
    append(connection, events)
    fold(connection)


def fold(connection: Connection) -> None:
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))


def summarize(publisher: Publisher) -> list[tuple[str, Any]]:
    """Publish; return the kind and value of every milestone that was ever told of ann."""
    publisher.run()
    messages = told(publisher.pubsub.messages(outgoing.TOPIC))
    return [(each["kind"], each["value"] or each["level"]) for each in messages["ann"]]


def test_milestones_are_published_as_they_are_reached(
    connection: Connection, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_MAX_BYTES", 1)  # a window has one milestone, and no event
    levels = [sample_events.item_published("i0", "A1")]
    record(connection, [*levels, *study("ann", 2), *study("ann", 1)])
    assert summarize(publisher) == []
    record(connection, [of("GoalSet", "ann", 0, answers_per_day=1), *study("ann", 0, answers=1)])
    assert summarize(publisher) == [("STREAK", 3), ("GOAL_MET", 1)]
    record(connection, [
        of("ReviewProcessed", "ann", 0, item_id="i0", new_interval=7, easiness_factor=2.5)
    ])  # fmt: skip
    assert summarize(publisher) == [("STREAK", 3), ("GOAL_MET", 1), ("LEVEL_REACHED", "A1")]
    # The goal of the day is raised and met again: it is the same milestone.
    record(connection, [of("GoalSet", "ann", 0, answers_per_day=2), *study("ann", 0, answers=2)])
    assert len(summarize(publisher)) == 3


@pytest.mark.parametrize(("days", "is_told"), [(1, True), (2, True), (3, False), (4, False)])
def test_a_milestone_is_told_until_two_days_after_its_day(
    connection: Connection, publisher: Publisher, days: int, is_told: bool
) -> None:
    record(connection, streak("ann", days))
    assert summarize(publisher) == [("STREAK", 3)] * is_told
    record(connection, study("ann", days))  # the learner's next event tells nothing old
    assert summarize(publisher) == [("STREAK", 3)] * is_told


def test_an_imported_history_announces_nothing(
    connection: Connection, publisher: Publisher
) -> None:
    sample_events.record_lessons(connection, "ann", lessons=40)
    fold(connection)
    assert summarize(publisher) == []
    assert connection.run("SELECT count(*) FROM event_store.milestone_marks") == [[0]]


def before_the_definition(connection: Connection) -> None:
    connection.run("TRUNCATE event_store.milestone_marks, event_store.milestone_definitions")


def test_the_first_build_of_a_definition_tells_nothing_that_was_reached_before_it(
    store: Store, connection: Connection, publisher: Publisher
) -> None:
    # Of 1,000 learners, all have answers on three days, and none has completed a session.
    answers = [e for n in range(1_000) for day in range(3) for e in study(f"u{n}", day, 1)[:-1]]
    record(connection, [*answers, *streak("ann")])
    before_the_definition(connection)
    # Recorded before the build, and not folded: the goal is met today.
    append(connection, [of("GoalSet", "ann", 0, answers_per_day=1), *study("ann", 0, answers=1)])

    def study_meanwhile(folded: int, total: int) -> None:
        if not folded and not connection.run(
            "SELECT FROM event_store.events WHERE stream_id = 'learner-bob'"
        ):
            append(connection, streak("bob"))

    rebuild.run(store.connect, workers=1, on_progress=study_meanwhile)
    # What is reached later is told, by the swap or by whoever folds it.
    record(connection, streak("cem"))
    publisher.run()
    messages = told(publisher.pubsub.messages(outgoing.TOPIC))
    assert {user: [each["kind"] for each in of] for user, of in messages.items()} == {
        "bob": ["STREAK"],
        "cem": ["STREAK"],
    }
    assert connection.run("SELECT unpublished FROM event_store.count_unpublished()") == [[0]]
    # The refold inserts the former milestones again.
    append(connection, [of("UserPreferencesChanged", "ann", 6, timezone="Atlantic/Reykjavik")])
    record(connection, [of("GoalSet", "ann", 0, answers_per_day=2), *study("ann", 0, answers=2)])
    assert summarize(publisher) == []  # the same milestone: today's goal
    record(connection, [event for n in range(3, 7) for event in study("ann", n)])
    assert summarize(publisher) == [("STREAK", 7)]


def test_a_build_that_did_not_finish_is_not_the_first_and_a_later_swap_tells_what_it_folded_once(
    store: Store, connection: Connection, publisher: Publisher
) -> None:
    record(connection, streak("ann"))
    before_the_definition(connection)

    def fail(folded: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild.run(store.connect, workers=1, on_progress=fail)
    append(connection, streak("bob"))
    rebuild.run(store.connect, workers=1)
    assert publisher.run() == 0
    append(connection, streak("cem"))
    rebuild.run(store.connect, workers=1)  # not the first any more
    assert publisher.run() == 1
    rebuild.run(store.connect, workers=1)
    assert publisher.run() == 0


def test_with_off_milestones_are_marked_and_not_published(
    store: Store, connection: Connection, fake_publisher: FakePublisher
) -> None:
    record(connection, streak("ann"))
    for setting in ("off", "milestones"):
        with contextlib.closing(Publisher(store, fake_publisher, setting)) as each:
            assert each.run() == 0
    assert connection.run("SELECT count(*) FROM event_store.milestone_marks") == [[1]]


@pytest.mark.parametrize("window", [1, 10_000])
def test_a_milestone_follows_the_event_that_caused_it(
    store: Store,
    connection: Connection,
    fake_publisher: FakePublisher,
    monkeypatch: pytest.MonkeyPatch,
    window: int,
) -> None:
    monkeypatch.setattr(publication, "_AT_MOST", window)
    record(connection, streak("ann"))
    with contextlib.closing(Publisher(store, fake_publisher, "all")) as publisher:
        publisher.run()
    kinds = [each.attributes["kind"] for each in fake_publisher.messages(outgoing.TOPIC)]
    assert kinds == [*["recorded"] * 6, "milestone"]


def test_the_numbers_of_the_marks_ascend_in_the_order_of_the_commits(
    store: Store, connection: Connection, publisher: Publisher
) -> None:
    """While one transaction holds its marks, no other transaction marks in the same shard."""
    append(connection, streak("ann"))
    with contextlib.closing(store.connect()) as other:
        other.run("BEGIN")
        shard = model_rows.read_value(connection, "shard", user="ann")
        other.run(f"SELECT pg_advisory_xact_lock(hashtext('event_store.milestone_marks'), {shard})")
        connection.run("SET lock_timeout = '50ms'")
        with pytest.raises(Exception, match="lock timeout"):
            Projector(connection).catch_up_all()
        other.run("ROLLBACK")
    connection.run("RESET lock_timeout")
    fold(connection)
    assert summarize(publisher) == [("STREAK", 3)]
