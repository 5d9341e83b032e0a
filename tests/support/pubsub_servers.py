"""Pub/Sub servers for tests, and an HTTP server that receives pushes."""

import contextlib
import json
import queue
import shutil
import signal
import subprocess
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
from progress.serve import ports, processes, readiness
from tests.conftest import skip_without
from tests.support import http_servers
from tests.support.postgres_servers import EMBEDDED, Server

PROJECT = "projects/contract"
KEY = "key"
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"


@dataclass
class Pubsub:
    publisher: PublisherClient
    subscriber: SubscriberClient
    host: str
    rest_url: str

    def topic(self) -> str:
        name = f"{PROJECT}/topics/t-{uuid.uuid4()}"
        self.publisher.create_topic(name=name)
        return name

    def subscribe(self, topic: str, url: str, **more: Any) -> str:
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


@dataclass
class Inbox:
    """An HTTP server that receives pushes; `answer` returns the status of each response."""

    url: str
    bodies: "queue.Queue[dict[str, Any]]"
    answer: Callable[[dict[str, Any]], int] = field(default=lambda _body: 204)

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.bodies.get(timeout=20) for _ in range(count)]


class Transport:
    """A process of the transport, which can be restarted on the same ports and database.

    Its own subscriptions push to `ingest_url` and `project_url`.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url, self._log = url, log
        self.port = ports.reserve()
        self.grpc: int | None = ports.reserve()  # None under `serve`, where programs cannot use it
        self.ingest_url = self.project_url = f"http://{ports.HOST}:{ports.reserve()}/"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"{ports.HOST}:{self.grpc}"

    @property
    def rest_url(self) -> str:
        return f"http://{ports.HOST}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "progress.serve.transport", str(self.port)]
        command += [self.ingest_url, self.project_url, "4", "2"]
        command += ["--grpc", str(self.grpc)] if self.grpc else []
        with self._log.open("ab") as output:
            self._process = processes.start(
                command,
                output=output,
                environment=settings.child_env(DATABASE_URL=self.url, SERVE_KEY=KEY),
            )
        last = self.grpc or self.port
        readiness.wait(lambda: ports.is_listening(last), "the transport", seconds=60)

    def end(self, *, by: signal.Signals = signal.SIGKILL) -> int:
        assert self._process
        processes.end(self._process, by=by, seconds=10)
        return self._process.returncode


@pytest.fixture(
    scope="module", params=["transport", pytest.param("emulator", marks=pytest.mark.exhaustive)]
)
def pubsub(
    request: pytest.FixtureRequest,
    servers: Callable[[str], Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pubsub]:
    """A Pub/Sub server: the transport, and in `make test-all` also Google's emulator.

    Skip the run with the emulator if the emulator is not installed.
    """
    log = tmp_path_factory.mktemp("pubsub") / "log"
    if request.param == "transport":
        with servers(EMBEDDED).open_database() as url, transport(log, url) as made:
            yield made
        return
    if not (command := find_emulator()):
        skip_without(request, "pubsub-emulator")
    port = ports.reserve()
    with log.open("wb") as output:
        command = [*command, f"--port={port}", f"--host={ports.HOST}"]
        process = processes.start(command, output=output, environment=settings.child_env())
    try:
        readiness.wait(lambda: ports.is_listening(port), "Pub/Sub", seconds=120)
        with clients(f"{ports.HOST}:{port}", f"http://{ports.HOST}:{port}") as made:
            yield made
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)


def find_emulator() -> list[str]:
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if not java or not gcloud:
        return []
    jars = sorted(Path(gcloud).resolve().parent.parent.glob(_JARS))
    return [java, "-jar", str(jars[-1])] if jars else []


@contextlib.contextmanager
def transport(log: Path, database_url: str) -> Iterator[Pubsub]:
    process = Transport(database_url, log)
    process.start()
    try:
        with clients(process.host, process.rest_url) as made:
            yield made
    finally:
        process.end(by=signal.SIGTERM)


@contextlib.contextmanager
def clients(host: str, rest_url: str = "") -> Iterator[Pubsub]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PUBSUB_EMULATOR_HOST", host)
        made = Pubsub(PublisherClient(), SubscriberClient(), host, rest_url)
    yield made
    made.publisher.stop()
    made.publisher.transport.close()
    made.subscriber.close()


@contextlib.contextmanager
def inbox(port: int = 0) -> Iterator[Inbox]:
    made = Inbox("", queue.Queue())

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name in http.server
            body = json.loads(self.read_body())
            self.respond(made.answer(body))
            made.bodies.put(body)

    with http_servers.serve(Handler, port) as address:
        made.url = f"{address}/push"
        yield made
