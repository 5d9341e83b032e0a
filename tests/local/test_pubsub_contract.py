"""Google's Pub/Sub emulator and this repository's stand-in fulfil the same contract."""

import base64
import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, NotFound
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig

from progress.adapters.pubsub import undelivered
from progress.adapters.pubsub.undelivered import Undelivered
from progress.local import ports
from tests.support import pubsub_servers
from tests.support.pubsub_servers import PROJECT, Inbox, Pubsub, pubsub

__all__ = ["pubsub"]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with pubsub_servers.inbox() as made:
        yield made


def test_a_message_is_pushed_unchanged(pubsub: Pubsub, inbox: Inbox) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic, inbox.url)
    [id_] = pubsub.publish(topic, b"\x00\xffdata", colour="blue")
    [body] = inbox.take(1)
    assert body["subscription"] == subscription
    assert base64.b64decode(body["message"]["data"]) == b"\x00\xffdata"
    assert body["message"]["attributes"]["colour"] == "blue"
    assert body["message"]["messageId"] == id_
    assert body["message"]["publishTime"].endswith("Z")


def test_every_subscription_of_a_topic_gets_every_message(pubsub: Pubsub, inbox: Inbox) -> None:
    topic = pubsub.topic()
    subscriptions = {pubsub.subscribe(topic, inbox.url) for _ in range(2)}
    ids = pubsub.publish(topic, *(b"%d" % n for n in range(50)))
    received = {(body["subscription"], body["message"]["messageId"]) for body in inbox.take(100)}
    assert received == {(name, id_) for name in subscriptions for id_ in ids}


def test_a_rejected_message_is_redelivered_until_it_is_acknowledged(
    pubsub: Pubsub, inbox: Inbox
) -> None:
    answers = iter([500, 400, 503])
    inbox.answer = lambda _body: next(answers, 204)
    topic = pubsub.topic()
    pubsub.subscribe(topic, inbox.url)
    [id_] = pubsub.publish(topic, b"again")
    assert [body["message"]["messageId"] for body in inbox.take(4)] == [id_] * 4
    with pytest.raises(queue.Empty):
        inbox.bodies.get(timeout=0.5)


def test_a_message_becomes_a_dead_letter_after_its_last_attempt(
    pubsub: Pubsub, inbox: Inbox
) -> None:
    inbox.answer = lambda body: 500 if base64.b64decode(body["message"]["data"]) == b"bad" else 204
    topic, letters = pubsub.topic(), pubsub.topic()
    letter_subscription = pubsub.subscribe(letters)
    policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=5)
    pubsub.subscribe(topic, inbox.url, dead_letter_policy=policy)
    pubsub.publish(topic, b"bad", b"good", colour="blue")
    [letter] = pubsub.pull(letter_subscription, 1)
    assert letter.message.data == b"bad"
    assert letter.message.attributes["colour"] == "blue"
    assert len(inbox.take(6)) == 6


def test_a_pulled_message_is_redelivered_unless_it_is_acknowledged(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic)
    pubsub.publish(topic, b"one", b"two")
    first = {received.message.data: received.ack_id for received in pubsub.pull(subscription, 2)}
    pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=[first[b"one"]])
    pubsub.subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[first[b"two"]], ack_deadline_seconds=0
    )
    [again] = pubsub.pull(subscription, 1)
    assert again.message.data == b"two"


def test_a_streaming_pull_receives_the_published_messages(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic)
    received: queue.Queue[bytes] = queue.Queue()

    def take(message: Any) -> None:
        message.ack()
        received.put(message.data)

    stream = pubsub.subscriber.subscribe(subscription, take)
    pubsub.publish(topic, b"a", b"b")
    assert {received.get(timeout=20), received.get(timeout=20)} == {b"a", b"b"}
    stream.cancel()
    stream.result(timeout=20)


def test_a_changed_push_address_is_used_immediately(pubsub: Pubsub, inbox: Inbox) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic, f"http://127.0.0.1:{ports.reserve()}/nobody")
    pubsub.publish(topic, b"waits")
    pubsub.subscriber.modify_push_config(
        subscription=subscription, push_config=PushConfig(push_endpoint=inbox.url)
    )
    assert base64.b64decode(inbox.take(1)[0]["message"]["data"]) == b"waits"


def test_a_duplicate_name_is_rejected_and_a_deleted_name_is_not_found(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic)
    with pytest.raises(AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    with pytest.raises(AlreadyExists):
        pubsub.subscriber.create_subscription(name=subscription, topic=topic)
    assert topic in {listed.name for listed in pubsub.publisher.list_topics(project=PROJECT)}
    assert subscription in {
        listed.name for listed in pubsub.subscriber.list_subscriptions(project=PROJECT)
    }
    pubsub.subscriber.delete_subscription(subscription=subscription)
    pubsub.publisher.delete_topic(topic=topic)
    with pytest.raises(NotFound):
        pubsub.publisher.get_topic(topic=topic)
    with pytest.raises(NotFound):
        pubsub.subscriber.get_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        pubsub.publish(topic, b"nowhere")


@pytest.mark.parametrize("pubsub", ["stand-in"], indirect=True)
def test_the_stand_in_counts_a_message_as_undelivered_until_it_is_acknowledged(
    pubsub: Pubsub,
) -> None:
    topic, project = pubsub.topic(), PROJECT.rpartition("/")[2]
    name = f"learning-events-ingest-sub-{time.time_ns()}"
    full = f"{PROJECT}/subscriptions/{name}"
    pubsub.subscriber.create_subscription(name=full, topic=topic)
    pubsub.publish(topic, b"a", b"b")
    assert Undelivered(name, 2) in undelivered.count(project, pubsub.host)
    [first, second] = pubsub.pull(full, 2)
    pubsub.subscriber.modify_ack_deadline(
        subscription=full, ack_ids=[second.ack_id], ack_deadline_seconds=0
    )
    pubsub.subscriber.acknowledge(subscription=full, ack_ids=[first.ack_id])
    assert Undelivered(name, 1) in undelivered.count(project, pubsub.host)
