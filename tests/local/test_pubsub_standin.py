"""No message is lost if the Pub/Sub stand-in or its database is killed."""

import asyncio
import base64
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import DeadlineExceeded, RetryError
from google.pubsub_v1.types import DeadLetterPolicy

from progress import settings
from progress.adapters.postgres import database
from progress.local import ports, processes, readiness
from progress.local.pubsub.background import Background
from tests.support import model_rows, pubsub_servers
from tests.support.postgres_servers import Server
from tests.support.pubsub_servers import Inbox


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


def ids(bodies: list[dict[str, Any]]) -> set[str]:
    return {body["message"]["messageId"] for body in bodies}


def test_published_messages_are_kept_if_the_stand_in_is_killed(standin: Standin) -> None:
    port = ports.reserve()
    with pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub:
        topic = pubsub.topic()
        pubsub.subscribe(topic, f"http://127.0.0.1:{port}/")
        sent = pubsub.publish(topic, *(b"%d" % n for n in range(200)))
        standin.kill()
        standin.start()
        with pubsub_servers.inbox(port) as inbox:
            assert ids(inbox.take(200)) == set(sent)
            more = pubsub.publish(topic, *(b"%d" % n for n in range(100)))
            assert ids(inbox.take(100)) == set(more)
    assert not set(sent) & set(more)


def test_no_message_is_lost_if_the_stand_in_is_killed_during_pushes(standin: Standin) -> None:
    seen: set[str] = set()

    def has_received(inbox: Inbox, sent: set[str]) -> bool:
        while not inbox.bodies.empty():
            seen.update(ids(inbox.take(1)))
        return seen >= sent

    with (
        pubsub_servers.inbox() as inbox,
        pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub,
    ):
        topic = pubsub.topic()
        pubsub.subscribe(topic, inbox.url)
        sent = set(pubsub.publish(topic, *(b"%d" % n for n in range(500))))
        for _ in range(2):
            seen.update(ids(inbox.take(20)))
            standin.kill()
            standin.start()
        readiness.wait(lambda: has_received(inbox, sent), "the messages")


def test_a_refused_connection_does_not_count_as_an_attempt(standin: Standin) -> None:
    port = ports.reserve()
    with pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub:
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


def test_the_count_of_attempts_is_kept_if_the_stand_in_is_killed(standin: Standin) -> None:
    with (
        pubsub_servers.inbox() as inbox,
        pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub,
    ):
        inbox.answer = lambda _body: 500
        topic, letters = pubsub.topic(), pubsub.topic()
        letter_subscription = pubsub.subscribe(letters)
        policy = DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=8)
        pubsub.subscribe(topic, inbox.url, dead_letter_policy=policy)
        pubsub.publish(topic, b"bad")
        before = [body["deliveryAttempt"] for body in inbox.take(4)]
        standin.kill()
        standin.start()
        [letter] = pubsub.pull(letter_subscription, 1)
        # The inbox responds to a push before it stores the push's body. The dead letter may
        # therefore arrive before the inbox has stored the last body.
        after = [inbox.take(1)[0]["deliveryAttempt"]]
        while after[-1] < 8:
            after += [body["deliveryAttempt"] for body in inbox.take(1)]
    assert before == [1, 2, 3, 4]
    assert after[0] in (4, 5)
    assert after[-1] == 8
    assert letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "8"


def test_a_publisher_that_times_out_during_a_write_does_not_block_other_publishers(
    standin: Standin,
) -> None:
    with (
        pubsub_servers.inbox() as inbox,
        pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub,
    ):
        topic = pubsub.topic()
        pubsub.subscribe(topic, inbox.url)
        with standin.lock_queue(), pytest.raises((DeadlineExceeded, RetryError)):
            pubsub.publisher.publish(topic, b"impatient", retry=None, timeout=1).result(timeout=10)
        pubsub.publish(topic, b"patient")
        got = {body["message"]["data"] for body in inbox.take(2)}
    assert got == {base64.b64encode(sent).decode() for sent in (b"impatient", b"patient")}


def test_the_stand_in_ends_when_its_database_sessions_end_and_resumes_after_a_restart(
    standin: Standin,
) -> None:
    with (
        pubsub_servers.inbox() as inbox,
        pubsub_servers.clients(f"127.0.0.1:{standin.port}") as pubsub,
    ):
        inbox.answer = lambda _body: 500
        topic = pubsub.topic()
        pubsub.subscribe(topic, inbox.url)
        sent = pubsub.publish(topic, *(b"%d" % n for n in range(50)))
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
