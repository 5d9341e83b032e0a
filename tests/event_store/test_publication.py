"""Whatever fails, subscribers get each committed event, in order, and nothing about the deleted.

The publisher is killed at each point: before and after Pub/Sub has accepted a request, and before
and after the checkpoint has moved.
"""

import contextlib
import json
import queue
import secrets
import threading
from collections.abc import Iterator

import msgspec
import pytest
from google.pubsub_v1.types import PublishRequest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError, PubSubUnavailable
from progress.event_store import outgoing, publication, windows
from progress.event_store.contract import schemas
from progress.event_store.events import OF_LISTS
from progress.projections import projector
from progress.settings import PublishEvents
from tests.conftest import Store
from tests.support import model_rows, published, sample_events
from tests.support.fake_publisher import FakePublisher
from tests.support.published import Publisher
from tests.support.stage import Stage, append

pytestmark = pytest.mark.every_postgres

LEARNERS = ("ann", "bob", "una")  # ann and una are in the same shard
AT = sample_events.BEGIN


STEPS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(LEARNERS), st.integers(1, 6)),
    st.tuples(st.just("delete"), st.sampled_from(LEARNERS), st.just(1)),
    st.tuples(st.just("publish"), st.just(""), st.just(1)),
    st.tuples(st.sampled_from(published.FAULTS), st.just(""), st.integers(1, 4)),
)


@given(
    steps=st.lists(STEPS, min_size=2, max_size=12),
    setting=st.sampled_from(["milestones", "all", "all"]),
    limits=st.sampled_from([(1, 10**6), (3, 10**6), (1_000, 1), (1_000, 700), (1_000, 10**6)]),
)
def test_whatever_fails_each_event_is_published_in_order_after_its_commit(
    stage: Stage,
    store: Store,
    steps: list[tuple[str, str, int]],
    setting: PublishEvents,
    limits: tuple[int, int],
) -> None:
    stage.sweep()
    with (
        contextlib.closing(FakePublisher()) as pubsub,
        contextlib.closing(Publisher(store, pubsub, setting)) as publisher,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(publication, "_AT_MOST", limits[0])
        patch.setattr(publication, "_MAX_BYTES", limits[1])
        committed: list[bool] = []
        lock = threading.Lock()
        with contextlib.closing(store.connect()) as other:

            def check_commit(request: PublishRequest) -> None:
                with lock:
                    committed.append(published.are_committed(other, request.messages))

            pubsub.on_request = check_commit
            for step, learner, number in steps:
                if step == "append":
                    append(stage.admin, sample_events.lesson(learner, number))
                elif step == "delete":
                    append(stage.admin, [sample_events.user_deleted(learner)])
                elif step == "publish":
                    publisher.run()
                else:
                    publisher.run_and_fail(step, number)
            publisher.run()
            assert publisher.run() == 0
        assert all(committed)
        messages = pubsub.messages(outgoing.TOPIC)
        published.check(stage.admin, messages, setting)
        append(stage.admin, [json.loads(each.data) for each in messages])
        assert publisher.run() == 0  # ingest takes each as a redelivery


FAILING = "CREATE {} ON event_store.{} {} FOR EACH ROW EXECUTE FUNCTION public.fail()"


@pytest.mark.parametrize(
    ("trigger", "when"),
    [
        ("TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE", ""),
        ("CONSTRAINT TRIGGER planted AFTER INSERT OR UPDATE OR DELETE", "INITIALLY DEFERRED"),
    ],
    ids=["in a statement", "at the commit"],
)
def test_nothing_of_a_failed_append_is_published_and_what_is_recorded_is_published_later(
    connection: Connection, publisher: Publisher, trigger: str, when: str
) -> None:
    """Each table of the log fails in turn; the publisher's own checkpoint is one of them."""
    connection.run(model_rows.BLOCKS["make fail"])
    failed = set()
    for number, (table,) in enumerate(connection.run(model_rows.BLOCKS["tables of the log"])):
        lost = {"session_id": f"lost-{number}", "item_id": "i0", "response_time_ms": 1}
        events = [
            *sample_events.lesson("ann", number),
            sample_events.user_deleted(f"gone-{number}"),
            sample_events.envelope("CorrectAnswerGiven", lost, at=sample_events.BEGIN),
            sample_events.envelope("GoalSet", {"answers_per_day": -1}, at=sample_events.BEGIN),
        ]
        before = published.read_log(connection)
        connection.run(FAILING.format(trigger, table, when))
        try:
            append(connection, events)
        except EventStoreError:
            failed.add(table)
            assert published.read_log(connection) == before
        with contextlib.suppress(*database.ERRORS):
            publisher.run()
        sent = publisher.pubsub.messages(outgoing.TOPIC)
        assert published.are_committed(connection, sent), table
        connection.run(f"DROP TRIGGER planted ON event_store.{table}")
        publisher.run()
        published.check(connection, publisher.pubsub.messages(outgoing.TOPIC), "all")
    assert failed == {"events", "sessions", "pending", "dead_letters", "letter_bytes"}


@pytest.fixture
def publisher(store: Store, fake_publisher: FakePublisher) -> Iterator[Publisher]:
    with contextlib.closing(Publisher(store, fake_publisher, "all")) as made:
        yield made


def test_a_message_is_a_cloud_event_that_matches_its_schema_and_has_no_personal_data(
    connection: Connection, publisher: Publisher
) -> None:
    personal = {"email": "ann@example.com", "display_name": "Ann"}
    created = sample_events.envelope(
        "UserCreated", {"user_id": "ann", "note": 1, **personal}, at=sample_events.BEGIN
    )
    created["metadata"] = {"correlation_id": "c-1", **personal}
    append(connection, [created, sample_events.item_published("i0")])
    assert publisher.run() == 2
    ann, item = sorted(
        publisher.pubsub.messages(outgoing.TOPIC), key=lambda each: each.ordering_key, reverse=True
    )
    schema = Draft202012Validator(schemas.make_published()["RecordedEvent"])
    (recorded, _) = published.read_log(connection)
    at = recorded.created_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    body = json.loads(ann.data)
    assert schema.is_valid(body)
    assert schema.is_valid(json.loads(item.data))
    assert not schema.is_valid({**body, "data": personal})
    assert body["data"] == {"user_id": "ann", "note": 1}
    assert body["metadata"] == {
        "correlation_id": "c-1",
        "global_position": 1,
        "stream_version": 1,
        "recorded_at": at,
    }
    assert dict(ann.attributes) == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": created["event_id"],
        "ce-type": "UserCreated",
        "ce-source": "//progress/effect-local",
        "ce-time": at,
        "ce-subject": "learner-ann",
        "kind": "recorded",
        "event_type": "UserCreated",
        "schema": "1",
    }
    assert (ann.ordering_key, item.ordering_key) == ("learner-ann", "item-i0")


def test_of_a_learners_own_list_only_ids_and_places_are_published(
    connection: Connection, publisher: Publisher
) -> None:
    kept = {"list_id": "l", "rank": 1, "position": 2}
    words = {"name": "secret", "scale": "secret", "headword": "secret", "kind": "secret"}
    told = [
        sample_events.envelope(kind, {**kept, **words, "item_id": "i", **named}, at=AT)
        for kind in OF_LISTS
        for named in ({"user_id": "ann"}, {})
    ]
    append(connection, told)
    assert publisher.run() == 8
    for message in publisher.pubsub.messages(outgoing.TOPIC):
        owner = {"user_id": "ann"} if message.ordering_key == "learner-ann" else words
        assert json.loads(message.data)["data"] == {**kept, "item_id": "i", **owner}


def test_what_is_recorded_under_another_setting_is_not_published_later(
    connection: Connection, store: Store, fake_publisher: FakePublisher
) -> None:
    counts = []
    settings: list[PublishEvents] = ["off", "all", "milestones", "all", "off", "milestones"]
    for number, setting in enumerate(settings):
        append(connection, sample_events.lesson("ann", number))
        append(connection, [sample_events.user_deleted(f"gone-{number}")])
        with contextlib.closing(Publisher(store, fake_publisher, setting)) as each:
            counts.append(each.run())
    lesson = len(sample_events.lesson("ann", 0))
    assert counts == [0, lesson + 1, 1, lesson + 1, 0, 1]


def test_a_worker_that_finds_the_shard_busy_returns_and_its_events_are_published(
    connection: Connection, store: Store, publisher: Publisher
) -> None:
    append(connection, sample_events.lesson("ann", 1))
    waiting = []
    with contextlib.closing(Publisher(store, publisher.pubsub, "all")) as other:

        def meanwhile(_: PublishRequest) -> None:
            publisher.pubsub.on_stored = lambda _: None
            append(connection, sample_events.lesson("ann", 2))
            waiting.append(other.run())

        publisher.pubsub.on_stored = meanwhile
        assert publisher.run() == 2 * len(sample_events.lesson("ann", 1))
        assert waiting == [0]
        append(connection, [sample_events.user_deleted("ann")])
        assert other.run() == 1
    published.check(connection, publisher.pubsub.messages(outgoing.TOPIC), "all")


def test_a_checkpoint_moves_past_all_messages_and_never_back(connection: Connection) -> None:
    for window in ((7, 2), (None, 5), (None, None)), ((6, None), (None, 4)):
        rows = [
            outgoing.Row(position, mark, "milestone", "MilestoneReached", None, "", AT, "{}")
            for position, mark in window
        ]
        windows.move(connection, 3, rows)
    found = connection.run("SELECT shard, position, mark FROM event_store.publisher_checkpoints")
    assert found == [[3, 7, 5]]


def test_after_a_failure_nothing_is_sent_for_five_seconds(
    connection: Connection, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    append(connection, sample_events.lesson("ann", 1))
    publisher.pubsub.is_down = True
    with pytest.raises(PubSubUnavailable, match="UNAVAILABLE: down"):
        publisher.run()
    publisher.pubsub.is_down = False
    shard = model_rows.read_value(connection, "shard", user="ann")
    served = msgspec.structs.replace(publisher.settings, serve_key="key")  # without a webhook
    assert not publication.publish_shards(publisher.connection, [shard], served)
    assert "events are published later: not published" in capsys.readouterr().out
    with pytest.raises(PubSubUnavailable, match="less than 5 s ago"):
        publication.publish(publisher.connection, shard, publisher.settings)
    assert publisher.pubsub.attempts == 1


@pytest.mark.parametrize("role", ["progress_project", "progress_batch"])
def test_the_roles_of_the_project_function_and_of_the_batch_job_may_publish(
    connection: Connection, publisher: Publisher, role: str
) -> None:
    append(connection, [sample_events.user_deleted("ann"), *sample_events.lesson("bob", 1)])
    publisher.connection.run(f"SET ROLE {role}")
    assert publisher.run() == 1 + len(sample_events.lesson("bob", 1))


def test_a_wake_up_publishes_after_the_fold(
    store: Store, connection: Connection, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(connection, sample_events.lesson("ann", 1))
    monkeypatch.setenv("DATABASE_URL", store.url)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", publisher.pubsub.address)
    monkeypatch.setenv("PUBLISH_EVENTS", "all")
    monkeypatch.setattr(projector, "_idle", queue.LifoQueue())
    shard = model_rows.read_value(connection, "shard", user="ann")
    publisher.pubsub.is_down = True
    with pytest.raises(PubSubUnavailable):
        projector.wake(shard)
    assert projector._idle.qsize() == 1  # the connection is kept
    assert not projector.Projector(connection).find_shards_behind()  # the fold is committed
    publisher.pubsub.is_down = False
    publication.outage.cache_clear()
    projector.wake(shard)
    messages = publisher.pubsub.messages(outgoing.TOPIC)
    assert len(messages) == len(sample_events.lesson("ann", 1))
    projector._idle.get().close()


def test_a_request_has_a_limited_size(
    connection: Connection, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event may exceed the limit of bytes, because the events before it may be small."""
    monkeypatch.setattr(publication, "_MAX_BYTES", 100_000)
    monkeypatch.setattr(publication, "_MAX_MESSAGES", 20)
    notes = [secrets.token_hex(size) for size in (20_000, 20_000, 20_000, 90_000)] + ["x"] * 50
    events = [
        sample_events.envelope("Noted", {"user_id": "ann", "note": note}, at=sample_events.BEGIN)
        for note in notes
    ]
    append(connection, events)
    assert publisher.run() == len(notes)
    sizes = [[len(each.data) for each in r.messages] for r in publisher.pubsub.requests]
    assert all(sum(size[:-1]) < 100_000 and len(size) <= 20 for size in sizes)
    assert len(sizes) > 3


def test_no_request_exceeds_the_size_that_pubsub_accepts(
    connection: Connection, publisher: Publisher
) -> None:
    """The server accepts 4 MiB, which is gRPC's limit; Pub/Sub accepts 10 MB."""
    for _ in range(30):
        data = {"user_id": "ann", "note": secrets.token_hex(100_000)}
        append(connection, [sample_events.envelope("Noted", data, at=sample_events.BEGIN)])
    assert publisher.run() == 30
    assert len(publisher.pubsub.requests) > 1
