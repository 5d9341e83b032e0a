"""Pub/Sub servers for tests, and an HTTP server that receives pushes."""

import contextlib
import json
import queue
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription

from progress import settings
from progress.local import ports, process_specs, processes, readiness
from tests.conftest import skip_without
from tests.support import http_servers

PROJECT = "projects/contract"
STAND_IN = [sys.executable, "-m", "progress.local.pubsub"]


@dataclass
class Pubsub:
    """A Pub/Sub server and Google's clients of this server."""

    publisher: PublisherClient
    subscriber: SubscriberClient
    host: str
    rest_url: str = ""

    def topic(self) -> str:
        name = f"{PROJECT}/topics/t-{uuid.uuid4()}"
        self.publisher.create_topic(name=name)
        return name

    def subscribe(self, topic: str, url: str = "", **more: Any) -> str:
        name = f"{PROJECT}/subscriptions/s-{uuid.uuid4()}"
        self.subscriber.create_subscription(
            request=Subscription(
                name=name,
                topic=topic,
                push_config=PushConfig(push_endpoint=url),
                ack_deadline_seconds=10,
                retry_policy=RetryPolicy(
                    minimum_backoff=timedelta(milliseconds=100),
                    maximum_backoff=timedelta(milliseconds=200),
                ),
                **more,
            )
        )
        return name

    def publish(self, topic: str, *data: bytes, **attributes: str) -> list[str]:
        sent = [self.publisher.publish(topic, payload, **attributes) for payload in data]
        return [future.result(timeout=10) for future in sent]

    def pull(self, subscription: str, count: int) -> list[Any]:
        received: list[Any] = []

        def is_complete() -> bool:
            answer = self.subscriber.pull(subscription=subscription, max_messages=100, timeout=15)
            received.extend(answer.received_messages)
            return len(received) >= count

        readiness.wait(is_complete, f"{count} messages")
        return received


@dataclass
class Inbox:
    """An HTTP server that receives pushes; `answer` returns the status of each response."""

    url: str
    bodies: "queue.Queue[dict[str, Any]]"
    answer: Callable[[dict[str, Any]], int] = field(default=lambda _body: 204)

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.bodies.get(timeout=20) for _ in range(count)]


@pytest.fixture(
    scope="module", params=["stand-in", pytest.param("emulator", marks=pytest.mark.exhaustive)]
)
def pubsub(request: pytest.FixtureRequest) -> Iterator[Pubsub]:
    """A Pub/Sub server: the local stack's stand-in, and in `make test-all` also Google's emulator.

    Skip the run with the emulator if the emulator is not installed.
    """
    port = rest_port = ports.reserve()
    environment = settings.child_env()
    if request.param == "emulator":
        if not (programs := process_specs.find_emulator()):
            skip_without(request, "pubsub-emulator")
        jar = ["-jar", str(programs.jar)]
        command = [str(programs.java), *jar, f"--port={port}", "--host=127.0.0.1"]
    else:
        environment = settings.child_env(DATABASE_URL=request.getfixturevalue("postgres"))
        rest_port = ports.reserve()
        command = [*STAND_IN, str(port), str(rest_port)]
    log = request.getfixturevalue("tmp_path_factory").mktemp("pubsub") / "log"
    with started(command, port, log, environment), clients(f"127.0.0.1:{port}") as made:
        made.rest_url = f"http://127.0.0.1:{rest_port}"
        yield made


@contextlib.contextmanager
def started(
    command: list[str], port: int, log: Path, environment: dict[str, str]
) -> Iterator[None]:
    """Run a server during the block, which begins when the server listens."""
    with log.open("wb") as output:
        process = processes.start(command, output=output, environment=environment)
    try:
        readiness.wait(lambda: ports.is_listening(port), "Pub/Sub", seconds=120)
        yield
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)


@contextlib.contextmanager
def stand_in(log: Path, database_url: str, port: int = 0) -> Iterator[str]:
    """Run the local stack's Pub/Sub during the block; yield its address."""
    port = port or ports.reserve()
    environment = settings.child_env(DATABASE_URL=database_url)
    with started([*STAND_IN, str(port)], port, log, environment):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def clients(host: str) -> Iterator[Pubsub]:
    """Connect Google's client library to `host`."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PUBSUB_EMULATOR_HOST", host)
        made = Pubsub(PublisherClient(), SubscriberClient(), host)
    yield made
    made.publisher.stop()
    made.publisher.transport.close()
    made.subscriber.close()


@contextlib.contextmanager
def inbox(port: int = 0) -> Iterator[Inbox]:
    """Run an inbox during the block, on `port` or, if `port` is 0, on a free port."""
    made = Inbox("", queue.Queue())

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name in http.server
            body = json.loads(self.read_body())
            self.respond(made.answer(body))
            made.bodies.put(body)

    with http_servers.serve(Handler, port) as address:
        made.url = f"{address}/push"
        yield made
