"""From published to answered by GraphQL, through the whole local stack, at a steady rate."""

import itertools
import os
import shutil
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import msgspec
from google.cloud.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from bench import asking, envelopes
from bench.envelopes import Envelope
from bench.lines import Line
from bench.load import post
from bench.server import Server
from progress.adapters.pubsub import publisher
from progress.local import devkeys, ports, stack
from progress.local.datafolder import DataFolder

_SECONDS = 120.0
_RATE = 200  # events a second
_TICK = 0.05  # seconds
_PROBE = 0.5  # seconds from one event that is waited for to the next
_PATIENCE = 30.0  # seconds
_USER = "probe"


@dataclass(frozen=True)
class _Stack:
    """The local stack, and a learner's token."""

    addresses: dict[str, str]
    port: int
    token: str

    def send(self, client: PublisherClient, event: Envelope) -> None:
        """Publish to the topic of its type."""
        topic = publisher.TOPICS[event["event_type"]]
        path = f"projects/{self.addresses['project_id']}/topics/{topic}"
        client.publish(path, msgspec.json.encode(event))

    def answers(self, item: str) -> bool:
        """Whether the learner's item is in the read model yet."""
        question = {"query": '{ item(itemId: "%s") { answers } }' % item}  # noqa: UP031
        request = post(question, "/graphql", f"Authorization: Bearer {self.token}")
        return b'"answers":1' in asking.first_answer(self.port, request)


def published_to_answered(_server: Server) -> Iterator[Line]:
    """Two minutes at 200 events a second; two of them a second are waited for."""
    with _running() as running:
        client = _client(running.addresses["pubsub_emulator_host"])
        over = threading.Event()
        load = threading.Thread(target=_steadily, args=(running, client, over))
        load.start()
        try:
            waited = list(_probes(running, client))
        finally:
            over.set()
            load.join()
    p95 = statistics.quantiles(waited, n=20)[-1]
    quarter = len(waited) // 4
    first, last = statistics.median(waited[:quarter]), statistics.median(waited[-quarter:])
    what = f"published → answered by GraphQL, at {_RATE} events/s through the local stack"
    median = statistics.median(waited)
    yield Line(
        f"{what}, 95th percentile", f"{p95:.0f} ms (median {median:.0f})", "", p95, 1_000, "ms",
        at_most=True,
    )  # fmt: skip
    yield Line(
        f"{what}, its last 30 s", f"{last:.0f} ms", f"its first 30 s: {first:.0f} ms",
        last / first, 1.25, at_most=True,
    )  # fmt: skip


@contextmanager
def _running() -> Iterator[_Stack]:
    folder = DataFolder(Path(tempfile.mkdtemp(prefix="progress-bench-stack-")))
    port = ports.free()
    os.environ["RATE_LIMIT_PER_MINUTE"] = "1000000"  # one learner asks until the answer is there
    try:
        stack.up(folder, port, attached=True, standin=True, on_answer=lambda _part: None)
        addresses = stack.running(folder).addresses
        yield _Stack(addresses, port, devkeys.token(folder.key, _USER, []))
    finally:
        stack.down(folder)
        shutil.rmtree(folder.path)


def _client(address: str) -> PublisherClient:
    return PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(address)))


def _steadily(running: _Stack, client: PublisherClient, over: threading.Event) -> None:
    """The load: each tick's events at once."""
    source = envelopes.endless(2)
    due = time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        for event in itertools.islice(source, int(_RATE * _TICK)):
            running.send(client, event)
        due += _TICK


def _probes(running: _Stack, client: PublisherClient) -> Iterator[float]:
    """Milliseconds from the publishing of an answer until GraphQL tells of it."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        begin = time.monotonic()
        item = str(uuid.uuid4())
        running.send(client, _answer(item))
        while not running.answers(item):
            if time.monotonic() > begin + _PATIENCE:
                raise RuntimeError("the answer did not come")
            time.sleep(0.005)
        yield 1_000 * (time.monotonic() - begin)
        time.sleep(max(0.0, begin + _PROBE - time.monotonic()))


def _answer(item: str) -> Envelope:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "CorrectAnswerGiven",
        "occurred_at": datetime.now(UTC).isoformat(),
        "data": {"user_id": _USER, "session_id": "s", "item_id": item, "response_time_ms": 900},
    }
