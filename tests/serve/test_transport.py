"""The transport fulfils the contract of Google's emulator; examples of documents work."""

import base64
import contextlib
import http.client
import json
import queue
import re
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    MethodNotImplemented,
    NotFound,
    RetryError,
)
from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, PushConfig, Subscription

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import wakeups
from progress.event_store import envelope
from progress.event_store.entries import Message, ParsedEvent
from progress.operations import erasure_rows
from progress.recovery import waiting
from progress.serve import ports, readiness
from progress.serve.transport import former
from tests.support import cli, programs, pubsub_servers, sample_events
from tests.support.postgres_servers import Server
from tests.support.pubsub_servers import Inbox, Pubsub, Transport

BLOCKS = statements.blocks(str(Path(__file__).parents[1] / "support" / "transport"))
LOCAL = f"projects/{settings.LOCAL_PROJECT}"
INGEST = f"{LOCAL}/subscriptions/learning-events-ingest-sub"


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
    with pubsub_servers.inbox() as of_letters:
        pubsub.subscribe(letters, of_letters.url)
        policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=5)
        pubsub.subscribe(topic, inbox.url, dead_letter_policy=policy)
        pubsub.publish(topic, b"bad", b"good", colour="blue")
        [letter] = of_letters.take(1)
    assert base64.b64decode(letter["message"]["data"]) == b"bad"
    assert letter["message"]["attributes"]["colour"] == "blue"
    assert len(inbox.take(6)) == 6


def test_no_push_waits_for_the_answer_to_another(pubsub: Pubsub, inbox: Inbox) -> None:
    """A fold of one shard may take minutes, and the others go on."""
    is_over = threading.Event()

    def answer(body: dict[str, Any]) -> int:
        if base64.b64decode(body["message"]["data"]) == b"slow":
            is_over.wait(30)
        return 204

    inbox.answer = answer
    topic = pubsub.topic()
    pubsub.subscribe(topic, inbox.url)
    pubsub.publish(topic, b"slow")
    pubsub.publish(topic, b"quick")
    first = inbox.take(1)
    is_over.set()
    assert base64.b64decode(first[0]["message"]["data"]) == b"quick"


def test_a_duplicate_name_is_rejected_and_a_deleted_name_is_not_found(
    pubsub: Pubsub, inbox: Inbox
) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscribe(topic, inbox.url)
    assert pubsub.publisher.get_topic(topic=topic).name == topic
    push = PushConfig(push_endpoint=inbox.url)
    with pytest.raises(AlreadyExists):
        pubsub.publisher.create_topic(name=topic)
    with pytest.raises(AlreadyExists):
        pubsub.subscriber.create_subscription(name=subscription, topic=topic, push_config=push)
    found = pubsub.subscriber.get_subscription(subscription=subscription)
    assert (found.topic, found.push_config.push_endpoint) == (topic, inbox.url)
    pubsub.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        pubsub.subscriber.get_subscription(subscription=subscription)
    missing = f"{topic}-missing"
    with pytest.raises(NotFound):
        pubsub.publisher.get_topic(topic=missing)
    with pytest.raises(NotFound):
        pubsub.publish(missing, b"nowhere")


@pytest.fixture
def transport(postgres_server: Server, tmp_path: Path) -> Iterator[Transport]:
    with postgres_server.open_database() as url:
        made = Transport(url, tmp_path / "log")
        yield made
        made.end()


@pytest.fixture
def client(transport: Transport) -> Iterator[Pubsub]:
    transport.start()
    with pubsub_servers.clients(transport.host) as made:
        yield made


@pytest.fixture
def owner(transport: Transport) -> Iterator[Connection]:
    with contextlib.closing(database.connect(transport.url)) as connection:
        yield connection


def ids(bodies: list[dict[str, Any]]) -> set[str]:
    return {body["message"]["messageId"] for body in bodies}


def post(
    transport: Transport,
    topic: str,
    *messages: bytes,
    key: str = pubsub_servers.KEY,
    **attributes: str,
) -> int:
    texts = [base64.b64encode(data).decode() for data in messages]
    body = {"messages": [{"data": text, "attributes": attributes} for text in texts]}
    connection = http.client.HTTPConnection(ports.HOST, transport.port, timeout=20)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        path = f"/v1/{LOCAL}/topics/{topic}:publish"
        connection.request("POST", path, json.dumps(body), headers)
        return connection.getresponse().status


def rows(owner: Connection) -> list[list[Any]]:
    listed: list[list[Any]] = owner.run(BLOCKS["rows"])
    return listed


ours = pytest.mark.parametrize("pubsub", ["transport"], indirect=True)  # not Google's emulator


@ours
def test_a_pull_is_not_implemented_and_says_what_to_do(pubsub: Pubsub) -> None:
    name, topic = f"{pubsub_servers.PROJECT}/subscriptions/s", pubsub.topic()
    with pytest.raises(MethodNotImplemented, match="push_endpoint"):
        pubsub.subscriber.create_subscription(name=name, topic=topic)
    with pytest.raises(MethodNotImplemented, match="push_endpoint"):
        pubsub.subscriber.pull(subscription=name, max_messages=1, retry=None)
    with pytest.raises(MethodNotImplemented, match="push_endpoint"):
        pubsub.subscriber.subscribe(name, print).result(timeout=20)


@ours
def test_an_address_that_none_can_have_stops_no_other_push(pubsub: Pubsub, inbox: Inbox) -> None:
    topic = pubsub.topic()
    for url in (f"http://{'a' * 64}.com/", "not an address", inbox.url):
        pubsub.subscribe(topic, url)
    for data in (b"1", b"2"):
        sent = pubsub.publish(topic, data)
        assert ids(inbox.take(1)) == set(sent)


def test_only_who_knows_the_key_publishes_under_serve(transport: Transport) -> None:
    transport.grpc = None
    transport.start()
    for key in ("another", "\xff"):
        assert post(transport, "learning-events", b"{}", key=key) == 401
    assert post(transport, "learning-events", b"{}") == 200
    assert post(transport, "unknown", b"{}") == 404


def test_a_client_that_leaves_or_sends_garbage_is_no_error(
    transport: Transport, tmp_path: Path
) -> None:
    transport.grpc = None
    transport.start()
    rests = (
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
        "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        "Content-Length: 9\r\n\r\n[",
        "\0\r\n\r\n",
    )
    for key in (pubsub_servers.KEY, "another"):
        path = f"/v1/{LOCAL}/topics/learning-events:publish"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        for rest in rests:
            with socket.create_connection((ports.HOST, transport.port)) as leaving:
                leaving.sendall(f"{head}{rest}".encode())
    assert post(transport, "learning-events", b"{}") == 200
    log = (tmp_path / "log").read_text("utf-8")
    assert "ERROR" not in log
    assert "Traceback" not in log


@ours
def test_a_refused_connection_does_not_count_as_an_attempt(pubsub: Pubsub) -> None:
    port = ports.reserve()
    topic, letters = pubsub.topic(), pubsub.topic()
    policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=5)
    pubsub.subscribe(topic, f"http://127.0.0.1:{port}/", dead_letter_policy=policy)
    pubsub.publish(topic, b"patient")
    # Wait for eight pushes to another subscription with the same backoff. If refused
    # connections counted, this message would have had its five attempts by then, and would be
    # a dead letter.
    with pubsub_servers.inbox() as pace:
        pace.answer = lambda _body: 500
        pubsub.subscribe(other := pubsub.topic(), pace.url)
        pubsub.publish(other, b"pace")
        pace.take(8)
    with pubsub_servers.inbox(port) as inbox:
        assert inbox.take(1)[0]["deliveryAttempt"] == 1


@pytest.mark.exhaustive
def test_the_count_of_attempts_is_kept_if_the_transport_is_killed(
    transport: Transport, client: Pubsub, inbox: Inbox, owner: Connection
) -> None:
    inbox.answer = lambda _body: 500
    topic = client.topic()
    policy = DeadLetterPolicy(dead_letter_topic=f"{topic}-none", max_delivery_attempts=8)
    client.subscribe(topic, inbox.url, dead_letter_policy=policy)
    client.publish(topic, b"bad")
    before = [body["deliveryAttempt"] for body in inbox.take(4)]
    transport.end()
    transport.start()
    readiness.wait(lambda: rows(owner)[0][3], "the end of the attempts")
    after = [body["deliveryAttempt"] for body in inbox.bodies.queue]
    assert before == [1, 2, 3, 4]
    assert after[0] in (4, 5)
    assert after[-1] == 8


@pytest.mark.exhaustive
def test_a_publisher_that_times_out_during_a_write_does_not_block_other_publishers(
    owner: Connection, client: Pubsub, inbox: Inbox
) -> None:
    topic = client.topic()
    client.subscribe(topic, inbox.url)
    with hold_queue(owner), pytest.raises((DeadlineExceeded, RetryError)):
        client.publisher.publish(topic, b"impatient", retry=None, timeout=1).result(timeout=10)
    client.publish(topic, b"patient")
    got = {body["message"]["data"] for body in inbox.take(2)}
    assert got == {base64.b64encode(sent).decode() for sent in (b"impatient", b"patient")}


@contextlib.contextmanager
def hold_queue(owner: Connection) -> Iterator[None]:
    owner.run("BEGIN")
    owner.run(BLOCKS["hold"])
    yield
    owner.run("ROLLBACK")


def test_a_shard_has_one_row_however_often_it_is_woken(
    transport: Transport, owner: Connection
) -> None:
    """A wake-up that arrives during a push concerns later events, so the shard is woken again."""
    with pubsub_servers.inbox() as project:
        transport.project_url = project.url
        pushed, go_on = threading.Event(), threading.Event()

        def answer(_body: dict[str, Any]) -> int:
            pushed.set()
            return 204 if go_on.wait(20) else 500

        project.answer = answer
        transport.start()
        wake = wakeups.wake_command(3)
        assert post(transport, wakeups.TOPIC, wake, wake) == 200
        assert pushed.wait(20)
        assert [post(transport, wakeups.TOPIC, wake) for _ in range(5)] == [200] * 5
        assert [row[2] for row in rows(owner)] == [wake]
        go_on.set()
        assert len(project.take(2)) == 2
        readiness.wait(lambda: not rows(owner), "an empty queue")
        with pytest.raises(queue.Empty):
            project.bodies.get(timeout=0.3)


def test_what_is_given_up_is_counted_and_found_and_delivered_again(
    transport: Transport, owner: Connection, tmp_path: Path
) -> None:
    with pubsub_servers.inbox() as ingest:
        transport.ingest_url = ingest.url
        ingest.answer = lambda _body: 500
        transport.start()
        assert post(transport, "learning-events", b"{}") == 200
        ingest.take(1)
        transport.end()
        owner.run(BLOCKS["last attempt"])
        transport.start()
        readiness.wait(lambda: rows(owner)[0][3], "the end of the attempts")

        def run(*arguments: str) -> str:
            environment = {"PROGRESS_DATA_DIR": str(tmp_path / "data")}
            return cli.progress(transport.url, *arguments, **environment).stdout

        (tmp_path / "data").mkdir()
        state = {
            "supervisor": {"pid": 1, "started": 0.0},
            "phase": "ready",
            "addresses": {"commands_url": f"{transport.rest_url}/"},
        }
        (tmp_path / "data" / "stack.json").write_text(json.dumps(state))
        held = {
            each["subscription"]: each["messages"]
            for each in json.loads(run("status", "--json"))["undelivered"]
        }
        assert held["learning-events-ingest-sub"] == 0
        assert held["learning-events-ingest-sub-dead-letter-sub"] == 1
        found = json.dumps(json.loads(run("doctor", "--json")))
        assert "progress undelivered retry" in found
        assert waiting.await_ingest(owner) == 1
        ingest.bodies.queue.clear()
        ingest.answer = lambda _body: 204
        assert run("undelivered", "retry") == "1 messages are delivered again.\n"
        assert ingest.take(1)[0]["deliveryAttempt"] == 1
        readiness.wait(lambda: not rows(owner), "an empty queue")
        assert run("undelivered", "retry") == "No message is given up.\n"


def test_a_dump_waits_for_what_waits_for_ingest_and_else_says_what_it_lacks(
    transport: Transport, owner: Connection
) -> None:
    transport.start()  # nobody listens at ingest's address
    assert post(transport, "user-events", b"{}", b"{}") == 200
    assert post(transport, wakeups.TOPIC, wakeups.wake_command(1)) == 200
    assert waiting.await_ingest(owner, seconds=0.2) == 2
    with contextlib.closing(database.connect(transport.url)) as other:
        later = threading.Timer(0.3, lambda: other.run(BLOCKS["empty"]))
        later.start()
        assert waiting.await_ingest(owner, seconds=20) == 0
        later.join()


def test_an_erasure_takes_the_learner_out_of_what_waits(
    transport: Transport, owner: Connection
) -> None:
    """The others' events of the same message stay; so does a learner whose id contains this one.

    Fields decide: other events may have the id, or the name of a field that is an id, anywhere.
    """
    transport.start()
    ann, anna = sample_events.lesson("ann", 0), sample_events.lesson("anna", 1)
    anna[1]["data"]["note"] = "ann"
    bodies: list[object] = [[*ann, *anna], ann, anna, "not an event of ann"]
    for body in bodies:
        assert post(transport, "learning-events", json.dumps(body).encode()) == 200
    owner.run(BLOCKS["give up"])
    owner.run(BLOCKS["know session"], session=ann[0]["data"]["session_id"], user="ann")
    for erased in ("ann", "user_id", "session_id", "i1"):
        erasure_rows.redact_rest(owner, erased, lambda: None)
    left = sorted(json.loads(row[2]) for row in rows(owner))
    assert left == [anna, anna]
    with pubsub_servers.inbox() as ingest:
        transport.end()
        transport.ingest_url = ingest.url
        transport.start()
        cli.expect_success(cli.progress(transport.url, "undelivered", "retry"))
        for pushed in ingest.take(2):
            assert json.loads(base64.b64decode(pushed["message"]["data"])) == anna


def test_an_erasure_ends_whatever_bytes_wait(transport: Transport, owner: Connection) -> None:
    """A NUL that is escaped is no text of PostgreSQL."""
    transport.start()
    for data in (b"\x00\xff", b'{"data": {"user_id": "ann\\u0000"}}', b"[" * 9_000, b"", b"[1]"):
        assert post(transport, "learning-events", data, colour="\0") == 200
    erasure_rows.redact_rest(owner, "ann", lambda: None)
    assert len(rows(owner)) == 5


def test_what_version_0_3_had_queued_is_delivered_under_its_id_and_subscription(
    transport: Transport, owner: Connection, inbox: Inbox
) -> None:
    """Ingest recognizes a redelivery by both. 0.3 kept each dead letter in a queue of its own."""
    owner.run(BLOCKS["former schema"])
    name = f"{INGEST}-1700000000000000000"
    letters = f"{name}-dead-letter"
    for subscription, topic, url in (
        (name, f"{LOCAL}/topics/learning-events", "http://127.0.0.1:1/"),
        (f"{letters}-sub", letters, ""),
        (f"{LOCAL}/subscriptions/rewards", f"{LOCAL}/topics/progress-events", inbox.url),
    ):
        push = PushConfig(push_endpoint=url)
        definition = Subscription(name=subscription, topic=topic, push_config=push)
        values = {"name": subscription, "definition": Subscription.serialize(definition)}
        owner.run(BLOCKS["former subscription"], **values)
        owner.run(BLOCKS["former topic"], name=topic)
    dead = {
        "CloudPubSubDeadLetterSourceSubscription": name.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceDeliveryCount": "100",
        "colour": "blue",
    }
    for subscription, number, data, attributes in (
        (name, 1 << 32, b"[1]", {"colour": "red"}),
        (f"{letters}-sub", 2 << 32, b"[2]", dead),
        (f"{LOCAL}/subscriptions/rewards", 3 << 32, b"[3]", {}),
    ):
        message = PubsubMessage(
            data=data, attributes=attributes, message_id=str(number), publish_time=datetime.now(UTC)
        )
        text = PubsubMessage.serialize(message)
        owner.run(BLOCKS["former message"], subscription=subscription, id=number, message=text)
    former.take_over(owner)
    former.take_over(owner)  # there is nothing left to take
    with pubsub_servers.inbox() as ingest:
        transport.ingest_url = ingest.url
        transport.start()
        [body] = ingest.take(1)
        assert (body["subscription"], body["message"]["messageId"]) == (name, str(1 << 32))
        assert body["message"]["attributes"] == {"colour": "red"}
        assert ids(inbox.take(1)) == {str(3 << 32)}
        assert post(transport, "learning-events", b"[4]") == 200
        assert ingest.take(1)[0]["subscription"] == name
        readiness.wait(lambda: len(rows(owner)) == 1, "the dead letter alone")
        [[subscription, id_, _, is_dead]] = rows(owner)
        assert (subscription, id_, is_dead) == (name, str(2 << 32), True)


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
    pubsub: Pubsub, inbox: Inbox, tmp_path: Path, *, page: str, language: str, published: list[str]
) -> None:
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip(f"needs {COMMANDS[language][0]}")
    project = f"docs-{uuid.uuid4()}"
    topic = f"projects/{project}/topics/learning-events"
    pubsub.publisher.create_topic(name=topic)
    pubsub.subscribe(topic, inbox.url)
    (tmp_path / FILES[language]).write_text(EXAMPLES[page, language], encoding="utf-8")
    environment = settings.child_env(PUBSUB_URL=pubsub.rest_url, PROJECT=project)
    command = [*COMMANDS[language], FILES[language]]
    assert "messageIds" in programs.run(command, environment, folder=tmp_path)
    [received] = inbox.take(1)
    assert list_types(base64.b64decode(received["message"]["data"])) == published


def test_the_event_of_the_go_example_is_valid() -> None:
    [event] = re.findall(r"= `(\{.*?\})`", EXAMPLES["publishing.md", "go"], re.DOTALL)
    assert list_types(event.encode()) == ["SessionCompleted"]


def list_types(data: bytes) -> list[str]:
    """Return the types of the message's events; fail if one of them is invalid."""
    entries = envelope.decode(data, Message())
    assert {type(entry) for entry in entries} == {ParsedEvent}
    return [entry.event_type for entry in entries if isinstance(entry, ParsedEvent)]


def test_an_invalid_request_is_rejected_with_the_status_of_pubsub(pubsub: Pubsub) -> None:
    for path, body, status in [
        ("projects/p/topics/missing:publish", '{"messages": [{"data": "e30="}]}', 404),
        ("projects/p/topics/missing", "{}", 404),
        ("projects/p/topics/t:publish", '{"messages": [{"data": "e30=", "colour": 1}]}', 400),
        ("projects/p/topics/t:publish", '{"messages": [{}]}', 400),
        ("projects/p/topics/t:publish", "garbage", 400),
        (
            "projects/p/topics/t:publish",
            '{"messages": [{"data": "e30=", "orderingKey": "\\u0000"}]}',
            400,
        ),
    ]:
        connection = http.client.HTTPConnection(urlsplit(pubsub.rest_url).netloc)
        with contextlib.closing(connection):
            connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == status
