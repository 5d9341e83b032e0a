"""Publish events steadily, with duplicates and out of order.

The ids of the events that Pub/Sub has acknowledged are kept for the checks.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
from google.api_core.retry import Retry

from bench.envelopes import Envelope
from bench.local_stack import LocalStack
from bench.soak.background import Background
from bench.soak.plan import SoakPlan
from bench.soak.timeline import Timeline
from progress.event_store.events import LEARNING, TOPICS

BROKEN = "soak-broken"  # the text of messages that become dead letters

_SHUFFLED = 500  # the next event is picked at random from this many waiting events
_DUPLICATES, _LATE, _GROUPED = 0.05, 0.01, 0.1  # shares of the events
_LATENESS_S = (10.0, 60.0)
_TICK_S = 0.05
_BROKEN_INTERVAL_S = 10.0
_RETRY = Retry(initial=0.1, maximum=1.0, timeout=600)
_SETTLE_TIMEOUT_S = 120.0


def name_leaver(number: int) -> str:
    """Return the name of a learner who will be erased.

    No name contains another name, because the checks search tables and logs for erased names.
    """
    return f"leaver-{number:04}"


class Source:
    """Events of many learners in random order; `leaver` is the learner who is erased next.

    `leavers` maps each leaver to the ids of this learner's events.
    """

    def __init__(self, plan: SoakPlan) -> None:
        self.leaver = name_leaver(0)
        self.leavers: dict[str, set[bytes]] = {}
        self._chance = random.Random(plan.seed)
        self._learners = [f"soak-{number}" for number in range(plan.learners)]
        self._timeline = Timeline(plan.begin, self._chance)
        self._ordered = self._create()
        self._shuffled: list[Envelope] = []
        self._late: list[tuple[float, Envelope]] = []

    def take(self, count: int, now: float) -> Iterator[Envelope]:
        """Yield `count` new events, but delay a few; then yield delayed events that are due.

        Some new events are yielded twice: at once, and again after a delay.
        """
        for _ in range(count):
            event = self._pick()
            if self._chance.random() < _LATE:
                self._late.append((now + self._chance.uniform(*_LATENESS_S), event))
                continue
            if self._chance.random() < _DUPLICATES:
                self._late.append((now + self._chance.uniform(0.0, _LATENESS_S[0]), event))
            yield event
        yield from self.take_late(now)

    def take_late(self, now: float) -> Iterator[Envelope]:
        due = [event for at, event in self._late if at <= now]
        self._late = [(at, event) for at, event in self._late if at > now]
        yield from due

    def take_rest(self) -> Iterator[Envelope]:
        """Yield all events that are not yet published, including those whose delay is not over."""
        yield from self._shuffled
        yield from self.take_late(float("inf"))

    def _pick(self) -> Envelope:
        while len(self._shuffled) < _SHUFFLED:
            self._shuffled.append(next(self._ordered))
        at = self._chance.randrange(len(self._shuffled))
        self._shuffled[at], self._shuffled[-1] = self._shuffled[-1], self._shuffled[at]
        return self._shuffled.pop()

    def _create(self) -> Iterator[Envelope]:
        """Yield the catalogue, then sessions.

        Every tenth session belongs to `leaver`. Another tenth of the sessions belongs to learners
        with ten sessions each. Such a learner's account is deleted before the tenth session.
        """
        yield from self._timeline.publish_items()
        for number in itertools.count():
            learner, is_deleted = self._chance.choice(self._learners), False
            if number % 10 == 0:
                learner = self.leaver
            elif number % 10 == 5:
                learner, is_deleted = f"deleted-{number // 100:04}", number % 100 == 95
            if is_deleted:
                yield from self._timeline.delete(learner, number)
            yield from self._timeline.change_items(number)
            for event in self._timeline.study(learner, number):
                if number % 10 == 0:
                    self.leavers.setdefault(learner, set()).add(UUID(event["event_id"]).bytes)
                yield event


class Load(Background):
    """A thread that publishes events; `acknowledged` has the ids of those that Pub/Sub stored."""

    def __init__(self, local: LocalStack, plan: SoakPlan) -> None:
        super().__init__("events")
        self.source = Source(plan)
        self.acknowledged: set[bytes] = set()
        self.broken: set[str] = set()  # acknowledged messages without an event
        self.published = self.failed = 0
        self._stack, self._rate = local, plan.events
        self._publisher = local.open_publisher()
        self._chance = random.Random(plan.seed)
        self._lock, self._waiting = threading.Lock(), 0

    def stop(self) -> None:
        """Publish the remaining events, and wait until all messages are acknowledged."""
        super().stop()
        self._publish(list(self.source.take_rest()))
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.1)
        self._publisher.stop()

    def _run(self) -> None:
        due, broken_at = time.monotonic(), 0.0
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._publish(list(self.source.take(round(self._rate * _TICK_S), due)))
            if due > broken_at:
                broken_at = due + _BROKEN_INTERVAL_S
                self._send(LEARNING, f"{BROKEN}-{uuid4()}".encode(), [])
            due += _TICK_S

    def _publish(self, events: list[Envelope]) -> None:
        """Publish the events, sometimes several in one message."""
        while events:
            count = self._chance.randint(2, 5) if self._chance.random() < _GROUPED else 1
            group, events = events[:count], events[count:]
            topic = TOPICS[group[0]["event_type"]]
            self._send(topic, msgspec.json.encode(group if count > 1 else group[0]), group)

    def _send(self, topic: str, data: bytes, events: list[Envelope]) -> None:
        with self._lock:
            self._waiting += 1
            self.published += len(events)
        sent = self._publisher.publish(self._stack.topic(topic), data, retry=_RETRY)
        sent.add_done_callback(lambda done: self._record(done, data, events))

    def _record(self, sent: Any, data: bytes, events: list[Envelope]) -> None:
        with self._lock:
            self._waiting -= 1
            if sent.exception() is not None:
                self.failed += 1
            elif events:
                self.acknowledged.update(UUID(event["event_id"]).bytes for event in events)
            else:
                self.broken.add(data.decode())
