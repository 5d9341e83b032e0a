"""The time from publishing an event until GraphQL returns it, through the local stack."""

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

from bench import envelopes, function_client
from bench.envelopes import Envelope
from bench.lines import Line
from bench.load import encode_post
from bench.server import Server
from progress.adapters.pubsub import publisher
from progress.local import development_key, ports, stack
from progress.local.data_folder import DataFolder

_SECONDS = 120.0
_RATE = 200  # events a second
_TICK = 0.05  # seconds
_PROBE = 0.5  # seconds between two measured events
_TIMEOUT_S = 30.0  # seconds
_USER = "probe"


@dataclass(frozen=True)
class _Stack:
    """The local stack and a learner's token."""

    addresses: dict[str, str]
    port: int
    token: str

    def send(self, client: PublisherClient, event: Envelope) -> None:
        """Publish the event to the topic of its type."""
        topic = publisher.TOPICS[event["event_type"]]
        path = f"projects/{self.addresses['project_id']}/topics/{topic}"
        client.publish(path, msgspec.json.encode(event))

    def is_answered(self, item: str) -> bool:
        """Return whether GraphQL returns the learner's answer for the item."""
        question = {"query": '{ item(itemId: "%s") { answers } }' % item}  # noqa: UP031
        request = encode_post(question, "/graphql", f"Authorization: Bearer {self.token}")
        return b'"answers":1' in function_client.fetch_first(self.port, request)


def measure_latency(_server: Server) -> Iterator[Line]:
    """Publish 200 events a second for two minutes, and measure two events each second."""
    with _run_stack() as local:
        client = _client(local.addresses["pubsub_emulator_host"])
        stop = threading.Event()
        load = threading.Thread(target=_publish_steadily, args=(local, client, stop))
        load.start()
        try:
            milliseconds = list(_measure_probes(local, client))
        finally:
            stop.set()
            load.join()
    p95 = statistics.quantiles(milliseconds, n=20)[-1]
    quarter = len(milliseconds) // 4
    first, last = (
        statistics.median(milliseconds[:quarter]),
        statistics.median(milliseconds[-quarter:]),
    )
    what = f"published → returned by GraphQL, at {_RATE} events/s through the local stack"
    median = statistics.median(milliseconds)
    yield Line(
        f"{what}, 95th percentile", f"{p95:.0f} ms (median {median:.0f})", "", p95, 1_000, "ms",
        at_most=True,
    )  # fmt: skip
    yield Line(
        f"{what}, its last 30 s", f"{last:.0f} ms", f"its first 30 s: {first:.0f} ms",
        last / first, 1.25, at_most=True,
    )  # fmt: skip


@contextmanager
def _run_stack() -> Iterator[_Stack]:
    folder = DataFolder(Path(tempfile.mkdtemp(prefix="progress-bench-stack-")))
    port = ports.reserve()
    os.environ["RATE_LIMIT_PER_MINUTE"] = "1000000"  # one learner sends all queries
    try:
        stack.up(folder, port, attached=True, standin=True, on_answer=lambda _part: None)
        addresses = stack.running(folder).addresses
        yield _Stack(addresses, port, development_key.token(folder.key, _USER, []))
    finally:
        stack.down(folder)
        shutil.rmtree(folder.path)


def _client(address: str) -> PublisherClient:
    return PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(address)))


def _publish_steadily(local: _Stack, client: PublisherClient, stop: threading.Event) -> None:
    """Publish `_RATE` events a second, in bursts that are `_TICK` seconds apart."""
    source = envelopes.endless(2)
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        for event in itertools.islice(source, int(_RATE * _TICK)):
            local.send(client, event)
        due += _TICK


def _measure_probes(local: _Stack, client: PublisherClient) -> Iterator[float]:
    """Yield the milliseconds from publishing an answer until GraphQL returns it."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        begin = time.monotonic()
        item = str(uuid.uuid4())
        local.send(client, _answer(item))
        while not local.is_answered(item):
            if time.monotonic() > begin + _TIMEOUT_S:
                raise RuntimeError(f"GraphQL did not return the answer within {_TIMEOUT_S:.0f} s")
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
