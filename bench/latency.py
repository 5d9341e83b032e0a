"""The time from publishing an event until GraphQL returns it, or a subscriber has its milestone.

Both are measured through the local stack.
"""

import itertools
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from google.cloud.pubsub_v1 import PublisherClient

from bench import envelopes, function_client, local_stack
from bench.envelopes import Envelope
from bench.lines import Line, Rounds, limit_p95
from bench.local_stack import LocalStack
from bench.server import Server
from progress.event_store import outgoing
from progress.event_store.events import TOPICS
from tests.support import pubsub_servers
from tests.support.envelopes import envelope
from tests.support.pubsub_servers import Inbox

_SECONDS, _MILESTONE_SECONDS = 120.0, 60.0
_RATE = 200  # events a second
_TICK = 0.05  # seconds
_PROBE = 0.5  # seconds between two measured events
_TIMEOUT_S = 30.0  # seconds
_USER = "probe"


@dataclass(frozen=True)
class _Probe:
    """The local stack and a learner's token."""

    stack: LocalStack
    token: str

    def send(self, client: PublisherClient, event: Envelope) -> None:
        """Publish the event to the topic of its type."""
        topic = TOPICS[event["event_type"]]
        client.publish(self.stack.topic(topic), msgspec.json.encode(event))

    def is_answered(self, item: str) -> bool:
        """Return whether GraphQL returns the learner's answer for the item."""
        question = {"query": '{ item(itemId: "%s") { answers } }' % item}  # noqa: UP031
        header = f"Authorization: Bearer {self.token}"
        request = function_client.encode_post(question, "/graphql", header)
        return b'"answers":1' in function_client.fetch(self.stack.port, request)


def measure_latency(_server: Server) -> Iterator[Line]:
    """Publish 200 events a second, and measure two answers, then two milestones, each second."""
    milliseconds = _measure_under_load(_measure_probes)
    quarter = len(milliseconds) // 4
    rounds = Rounds()
    rounds.add("first", statistics.median(milliseconds[:quarter]))
    rounds.add("last", statistics.median(milliseconds[-quarter:]))
    what = f"published → returned by GraphQL, at {_RATE} events/s through the local stack"
    yield limit_p95(what, milliseconds, 1_000)
    yield rounds.compare_costs(
        f"{what}, its last 30 s", "last", "first", against="its first 30 s:", bar=1.25
    )
    what = f"answer published → milestone received, at {_RATE} events/s through the local stack"
    yield limit_p95(what, _measure_under_load(_measure_milestones), 1_000)


def _measure_under_load(
    measure: Callable[[_Probe, PublisherClient], Iterator[float]],
) -> list[float]:
    with local_stack.run() as stack:
        local, client = _Probe(stack, stack.token(_USER)), stack.open_publisher()
        stop = threading.Event()
        load = threading.Thread(target=_publish_steadily, args=(local, client, stop))
        load.start()
        try:
            return list(measure(local, client))
        finally:
            stop.set()
            load.join()


def _measure_milestones(local: _Probe, client: PublisherClient) -> Iterator[float]:
    """Yield the milliseconds from publishing an answer until a subscriber has its milestone.

    The answer is the learner's tenth learned item.
    """
    with local.stack.open_subscriber() as subscriber, pubsub_servers.inbox() as inbox:
        name = f"projects/{local.stack.addresses['project_id']}/subscriptions/bench"
        topic, push = local.stack.topic(outgoing.TOPIC), {"push_endpoint": inbox.url}
        request = {"name": name, "topic": topic, "push_config": push}
        subscriber.create_subscription(request=request)
        end, learners = time.monotonic() + _MILESTONE_SECONDS, (f"m-{n}" for n in itertools.count())
        _learn_nine(local, client, learner := next(learners))
        while time.monotonic() < end:
            _learn_nine(local, client, later := next(learners))
            time.sleep(_PROBE)
            begin = time.monotonic()
            local.send(client, _answer(str(uuid.uuid4()), learner))
            while _subject(inbox) != f"learner-{learner}":
                pass
            yield 1_000 * (time.monotonic() - begin)
            learner = later


def _subject(inbox: Inbox) -> str:
    """Return whom the next milestone is about."""
    body = inbox.bodies.get(timeout=_TIMEOUT_S)
    subject: str = body["message"]["attributes"]["ce-subject"]
    return subject


def _learn_nine(local: _Probe, client: PublisherClient, user: str) -> None:
    for _ in range(9):
        local.send(client, _answer(str(uuid.uuid4()), user))


def _publish_steadily(local: _Probe, client: PublisherClient, stop: threading.Event) -> None:
    """Publish `_RATE` events a second, in bursts that are `_TICK` seconds apart."""
    source = envelopes.endless(2)
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        for event in itertools.islice(source, int(_RATE * _TICK)):
            local.send(client, event)
        due += _TICK


def _measure_probes(local: _Probe, client: PublisherClient) -> Iterator[float]:
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


def _answer(item: str, user: str = _USER) -> Envelope:
    data = {"user_id": user, "session_id": "s", "item_id": item, "response_time_ms": 900}
    return envelope("CorrectAnswerGiven", data, occurred_at=datetime.now(UTC).isoformat())
