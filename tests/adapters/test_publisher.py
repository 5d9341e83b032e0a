"""Messages are published in order with few requests; wake-ups pause after a failure."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.pubsub import publisher, wakeups
from progress.adapters.pubsub.publisher import Packed
from progress.cli import connections
from progress.errors import PubSubUnavailable, SerializationError
from progress.event_store.events import TOPICS
from progress.serve import readiness
from tests.support.fake_publisher import FakePublisher

MESSAGES = st.lists(
    st.builds(
        Packed,
        topic=st.sampled_from(sorted({*TOPICS.values()})),
        data=st.binary(min_size=1, max_size=30),
        count=st.integers(1, 100),
    ),
    max_size=20,
)


def publish(server: FakePublisher, messages: list[Packed]) -> list[int]:
    reported: list[int] = []
    count = publisher.publish(
        messages, project="p", emulator=server.address, on_published=reported.append
    )
    assert [count] == (reported or [0])[-1:]
    return reported


@given(messages=MESSAGES)
def test_each_topic_gets_its_messages_in_order_with_few_requests(messages: list[Packed]) -> None:
    server = FakePublisher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publisher, "_BATCH_MESSAGES", 4)
        patch.setattr(publisher, "_BATCH_BYTES", 40)
        reported = publish(server, messages)
    server.close()
    assert len(reported) == len(server.requests)
    assert reported == sorted({*reported})
    assert reported[-1:] == ([sum(each.count for each in messages)] if messages else [])
    for topic in {each.topic for each in messages}:
        assert [
            message.data
            for request in server.requests
            if request.topic == f"projects/p/topics/{topic}"
            for message in request.messages
        ] == [each.data for each in messages if each.topic == topic]
    for request in server.requests:
        size = sum(len(message.data) for message in request.messages)
        assert len(request.messages) == 1 or (len(request.messages) <= 4 and size <= 40)


def test_each_message_begins_a_trace(fake_publisher: FakePublisher) -> None:
    publish(fake_publisher, [Packed("user-events", b"1", 1), Packed("user-events", b"2", 1)])
    [request] = fake_publisher.requests
    traces = {message.attributes["googclient_traceparent"] for message in request.messages}
    assert len(traces) == 2


def test_nothing_is_published_if_a_message_is_too_large(fake_publisher: FakePublisher) -> None:
    small = Packed("user-events", b"1", 1)
    large = msgspec.structs.replace(small, data=b"1" * (publisher.MAX_MESSAGE_BYTES + 1))
    with pytest.raises(SerializationError, match="has 9,990,001 bytes"):
        publish(fake_publisher, [small, large])
    assert not fake_publisher.attempts


def test_the_error_says_how_many_events_were_published_before(
    fake_publisher: FakePublisher,
) -> None:
    def stop(_: int) -> None:
        fake_publisher.is_down = True

    messages = [Packed(topic, b"1", 7) for topic in ("user-events", "learning-events")]
    with pytest.raises(PubSubUnavailable, match=r"UNAVAILABLE: down; 7 were published before"):
        publisher.publish(messages, project="p", emulator=fake_publisher.address, on_published=stop)
    assert fake_publisher.attempts == 2


@pytest.fixture
def pubsub(fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch) -> FakePublisher:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    monkeypatch.setattr(wakeups, "_PAUSE_S", 60.0)
    return fake_publisher


def test_what_was_not_sent_is_sent_after_the_pause_without_another_call(
    pubsub: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "_PAUSE_S", 0.05)
    operation = uuid.uuid4()
    pubsub.is_down = True
    assert not wakeups.send([1, 2])
    assert not wakeups.send_operations([operation])
    readiness.wait(lambda: pubsub.attempts > 2, "attempts after pauses")
    pubsub.is_down = False
    readiness.wait(lambda: len(pubsub.commands()) > 2, "the commands")
    expected = [wakeups.operation_command(operation), *map(wakeups.wake_command, (1, 2))]
    assert sorted(message.data for message in pubsub.messages(wakeups.TOPIC)) == expected


def test_what_was_not_sent_in_the_pause_is_sent_once_by_the_next_call(
    pubsub: FakePublisher,
) -> None:
    pubsub.is_down = True
    assert not wakeups.send_operations([uuid.uuid4()])
    pubsub.is_down = False
    assert not wakeups.send([1, 2])
    assert not wakeups.send([2, 3])
    assert pubsub.attempts == 1
    wakeups.outage()._ends_at = 0.0
    assert wakeups.send([2, 4])
    assert sorted(each.get("shard", 0) for each in pubsub.commands()) == [0, 1, 2, 3, 4]
    assert wakeups.send([5])
    assert len(pubsub.commands()) == 6


def test_a_command_wakes_workers_for_operations_and_for_shards(
    pubsub: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_PROJECT_ID", "ours")
    connections.call_workers([uuid.uuid4()], shards=[3])
    assert [command["command"] for command in pubsub.commands()] == ["operation", "wake"]
    assert [*pubsub.commands()][-1]["shard"] == 3
