"""The Pub/Sub stand-in fulfils the contract of Google's emulator; examples of documents work."""

import asyncio
import base64
import contextlib
import http.client
import queue
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.api_core.exceptions import AlreadyExists, DeadlineExceeded, NotFound, RetryError
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.pubsub import clients, undelivered
from progress.adapters.pubsub.undelivered import Undelivered
from progress.event_store import envelope
from progress.event_store.envelope import Message, ParsedEvent
from progress.local import ports, processes, readiness
from progress.local.pubsub.background import Background
from tests.support import model_rows, programs, pubsub_servers
from tests.support.postgres_servers import Server
from tests.support.pubsub_servers import PROJECT, Inbox, Pubsub


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


def test_messages_of_an_ordering_key_are_pulled_in_their_order(pubsub: Pubsub) -> None:
    """Google's emulator loses such messages if they are pushed and there is a dead-letter topic."""
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic, enable_message_ordering=True)
    for key in ("a", "b", "a", "b"):
        messages = [{"data": b"%d" % n, "ordering_key": key} for n in range(5)]
        clients.publish(topic, messages, emulator=pubsub.host, timeout_s=10)
    pulled: dict[str, list[bytes]] = {"a": [], "b": []}
    while sum(map(len, pulled.values())) < 20:
        response = pubsub.subscriber.pull(subscription=subscription, max_messages=20, timeout=10)
        for received in response.received_messages:
            pulled[received.message.ordering_key].append(received.message.data)
        ack_ids = [received.ack_id for received in response.received_messages]
        pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids)
    expected = 2 * [b"%d" % n for n in range(5)]
    assert pulled == {"a": expected, "b": expected}


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


def test_a_seek_delivers_the_messages_since_a_time_again(pubsub: Pubsub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic, retain_acked_messages=True)
    times = []
    for data in (b"old", b"new", b"undelivered"):
        times.append(datetime.now(UTC))
        pubsub.publish(topic, data)
        time.sleep(0.1)
    received = {each.message.data: each.ack_id for each in pubsub.pull(subscription, 3)}
    acked = [received[b"old"], received[b"new"]]
    pubsub.subscriber.acknowledge(subscription=subscription, ack_ids=acked)
    for since, expected in ((1, {b"new", b"undelivered"}), (2, {b"undelivered"})):
        pubsub.subscriber.seek(request={"subscription": subscription, "time": times[since]})
        again = pubsub.pull(subscription, len(expected))
        assert {each.message.data for each in again} == expected


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


class Standin:
    """A process of the stand-in, which can be restarted on the same port and database."""

    def __init__(self, url: str, log: Path) -> None:
        self.port = ports.reserve()
        self.url, self._log = url, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = processes.start(
                [sys.executable, "-m", "progress.local.pubsub", str(self.port)],
                output=output,
                environment=settings.child_env(DATABASE_URL=self.url),
            )
        readiness.wait(lambda: ports.is_listening(self.port), "the stand-in")

    def kill(self) -> None:
        assert self._process
        processes.end(self._process, by=signal.SIGKILL, seconds=5)

    def restart(self) -> None:
        self.kill()
        self.start()

    def wait(self) -> int:
        """Wait until the stand-in ends by itself; return the exit code."""
        assert self._process
        return self._process.wait(20)

    @contextlib.contextmanager
    def lock_queue(self) -> Iterator[None]:
        """Lock the stand-in's queue, so that all writes wait until the `with` block ends."""
        with contextlib.closing(database.connect(self.url)) as connection:
            connection.run("BEGIN")
            model_rows.read_value(connection, "hold the queue")
            yield
            connection.run("ROLLBACK")


@pytest.fixture
def standin(postgres_server: Server, tmp_path: Path) -> Iterator[Standin]:
    with postgres_server.open_database() as url:
        made = Standin(url, tmp_path / "log")
        made.start()
        yield made
        made.kill()


@pytest.fixture
def client(standin: Standin) -> Iterator[Pubsub]:
    with pubsub_servers.clients(f"127.0.0.1:{standin.port}") as made:
        yield made


def ids(bodies: list[dict[str, Any]]) -> set[str]:
    return {body["message"]["messageId"] for body in bodies}


@pytest.mark.exhaustive
def test_published_messages_are_kept_if_the_stand_in_is_killed(
    standin: Standin, client: Pubsub
) -> None:
    port = ports.reserve()
    topic = client.topic()
    client.subscribe(topic, f"http://127.0.0.1:{port}/")
    sent = client.publish(topic, *(b"%d" % n for n in range(200)))
    standin.restart()
    with pubsub_servers.inbox(port) as inbox:
        assert ids(inbox.take(200)) == set(sent)
        more = client.publish(topic, *(b"%d" % n for n in range(100)))
        assert ids(inbox.take(100)) == set(more)
    assert not set(sent) & set(more)


@pytest.mark.exhaustive
def test_no_message_is_lost_if_the_stand_in_is_killed_during_pushes(
    standin: Standin, client: Pubsub, inbox: Inbox
) -> None:
    seen: set[str] = set()

    def has_received(inbox: Inbox, sent: set[str]) -> bool:
        while not inbox.bodies.empty():
            seen.update(ids(inbox.take(1)))
        return seen >= sent

    topic = client.topic()
    client.subscribe(topic, inbox.url)
    sent = set(client.publish(topic, *(b"%d" % n for n in range(500))))
    for _ in range(2):
        seen.update(ids(inbox.take(20)))
        standin.restart()
    readiness.wait(lambda: has_received(inbox, sent), "the messages")


def test_a_refused_connection_does_not_count_as_an_attempt(
    standin: Standin, client: Pubsub
) -> None:
    port = ports.reserve()
    topic, letters = client.topic(), client.topic()
    policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=5)
    client.subscribe(topic, f"http://127.0.0.1:{port}/", dead_letter_policy=policy)
    client.publish(topic, b"patient")
    # Wait for eight pushes to another subscription with the same backoff. If refused
    # connections counted, this message would have had its five attempts by then, and would be
    # a dead letter.
    with pubsub_servers.inbox() as pace:
        pace.answer = lambda _body: 500
        client.subscribe(other := client.topic(), pace.url)
        client.publish(other, b"pace")
        pace.take(8)
    with pubsub_servers.inbox(port) as inbox:
        assert inbox.take(1)[0]["deliveryAttempt"] == 1


@pytest.mark.exhaustive
def test_the_count_of_attempts_is_kept_if_the_stand_in_is_killed(
    standin: Standin, client: Pubsub, inbox: Inbox
) -> None:
    inbox.answer = lambda _body: 500
    topic, letters = client.topic(), client.topic()
    letter_subscription = client.subscribe(letters)
    policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=8)
    client.subscribe(topic, inbox.url, dead_letter_policy=policy)
    client.publish(topic, b"bad")
    before = [body["deliveryAttempt"] for body in inbox.take(4)]
    standin.restart()
    [letter] = client.pull(letter_subscription, 1)
    # The inbox responds to a push before it stores the push's body. The dead letter may
    # therefore arrive before the inbox has stored the last body.
    after = [inbox.take(1)[0]["deliveryAttempt"]]
    while after[-1] < 8:
        after += [body["deliveryAttempt"] for body in inbox.take(1)]
    assert before == [1, 2, 3, 4]
    assert after[0] in (4, 5)
    assert after[-1] == 8
    assert letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "8"


@pytest.mark.exhaustive
def test_a_publisher_that_times_out_during_a_write_does_not_block_other_publishers(
    standin: Standin, client: Pubsub, inbox: Inbox
) -> None:
    topic = client.topic()
    client.subscribe(topic, inbox.url)
    with standin.lock_queue(), pytest.raises((DeadlineExceeded, RetryError)):
        client.publisher.publish(topic, b"impatient", retry=None, timeout=1).result(timeout=10)
    client.publish(topic, b"patient")
    got = {body["message"]["data"] for body in inbox.take(2)}
    assert got == {base64.b64encode(sent).decode() for sent in (b"impatient", b"patient")}


@pytest.mark.exhaustive
def test_the_stand_in_ends_when_its_database_sessions_end_and_resumes_after_a_restart(
    standin: Standin, client: Pubsub, inbox: Inbox
) -> None:
    inbox.answer = lambda _body: 500
    topic = client.topic()
    client.subscribe(topic, inbox.url)
    sent = client.publish(topic, *(b"%d" % n for n in range(50)))
    inbox.take(20)
    with contextlib.closing(database.connect(standin.url)) as connection:
        model_rows.read_value(connection, "end sessions", application="pubsub-standin")
    assert standin.wait() == 1
    inbox.answer = lambda _body: 204
    inbox.bodies.queue.clear()
    standin.start()
    # A push that was in progress when the stand-in ended may be repeated.
    missing = set(sent)
    while missing:
        missing -= ids(inbox.take(1))


def test_the_failure_of_a_background_task_is_reported() -> None:
    errors: list[BaseException] = []

    async def fail() -> None:
        raise asyncio.InvalidStateError("done already")

    async def main() -> None:
        await asyncio.wait({Background(errors.append).start(fail())})

    asyncio.run(main())
    assert [str(error) for error in errors] == ["done already"]


DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES: dict[tuple[str, str], str] = {
    (page, language): text
    for page in ("publishing.md", "events.md")
    for language, text in re.findall(
        r"(?ms)^```(\w+)\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8")
    )
}
COMMANDS = {"sh": ["bash", "-e"], "go": ["go", "run"], "python": [sys.executable]}
FILES = {"sh": "publish.sh", "go": "publish.go", "python": "publish.py"}


@pytest.mark.parametrize(
    ("page", "language", "published"),
    [
        ("publishing.md", "sh", ["SessionStarted"]),
        ("publishing.md", "go", ["SessionCompleted"]),
        ("events.md", "sh", ["EventRetracted", "CorrectAnswerGiven"]),
        ("events.md", "python", ["EventRetracted", "CorrectAnswerGiven"]),
    ],
)
def test_each_example_publishes_valid_events(
    pubsub: Pubsub, tmp_path: Path, page: str, language: str, published: list[str]
) -> None:
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip(f"needs {COMMANDS[language][0]}")
    project = f"docs-{uuid.uuid4()}"
    topic = f"projects/{project}/topics/learning-events"
    pubsub.publisher.create_topic(name=topic)
    subscription = pubsub.subscribe(topic)
    (tmp_path / FILES[language]).write_text(EXAMPLES[page, language], encoding="utf-8")
    environment = settings.child_env(PUBSUB_URL=pubsub.rest_url, PROJECT=project)
    command = [*COMMANDS[language], FILES[language]]
    assert "messageIds" in programs.run(command, environment, folder=tmp_path)
    [received] = pubsub.pull(subscription, 1)
    assert list_types(received.message.data) == published


def test_the_event_of_the_go_example_is_valid() -> None:
    [event] = re.findall(r"= `(\{.*?\})`", EXAMPLES["publishing.md", "go"], re.DOTALL)
    assert list_types(event.encode()) == ["SessionCompleted"]


def list_types(data: bytes) -> list[str]:
    """Return the types of the message's events; fail if one of them is invalid."""
    entries = envelope.decode(data, Message())
    assert {type(entry) for entry in entries} == {ParsedEvent}
    return [entry.event_type for entry in entries if isinstance(entry, ParsedEvent)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("projects/p/topics/missing:publish", '{"messages": [{"data": "e30="}]}', 404),
        ("projects/p/topics/missing", "{}", 404),
        ("projects/p/topics/t:publish", '{"messages": [{"data": "e30=", "colour": 1}]}', 400),
        ("projects/p/topics/t:publish", '{"messages": [{}]}', 400),
        ("projects/p/topics/t:publish", "garbage", 400),
    ],
)
def test_the_stand_in_and_the_emulator_reject_an_invalid_request_with_the_same_status(
    pubsub: Pubsub, path: str, body: str, status: int
) -> None:
    connection = http.client.HTTPConnection(urlsplit(pubsub.rest_url).netloc)
    with contextlib.closing(connection):
        connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == status
