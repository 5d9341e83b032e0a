"""Events as publishers send them. A session has twenty answers, each followed by a review."""

import itertools
import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from progress.event_store import envelope
from progress.event_store.entries import Message
from progress.event_store.log import Delivery

Envelope = dict[str, Any]

_LEARNERS, _ANSWERS = 1_000, 20
_ITEMS = [f"item-{number}" for number in range(5_000)]
_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def endless(seed: int = 1) -> Iterator[Envelope]:
    """Yield the events of an endless series of sessions, whose learners take turns."""
    chance = random.Random(seed)
    for number in itertools.count():
        learner = f"learner-{seed}-{number % _LEARNERS}"
        begin = _BEGIN + timedelta(minutes=number)
        yield from session(learner, begin, chance)


def session(
    learner: str, begin: datetime, chance: random.Random, items: Sequence[str] = _ITEMS
) -> Iterator[Envelope]:
    """Yield the 42 events of one session."""
    key = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    of = {"user_id": learner}
    yield _event("SessionStarted", begin, of | {"session_id": key, "item_count": _ANSWERS}, chance)
    at = begin
    for _ in range(_ANSWERS):
        at += timedelta(milliseconds=chance.randint(3_000, 20_000))
        item = chance.choice(items)
        yield answer(learner, key, at, item, chance)
        review = {"item_id": item, "new_interval": chance.randint(1, 60), "easiness_factor": 2.5}
        yield _event("ReviewProcessed", at, of | review, chance)
    end = {"session_id": key, "score": 85, "duration_seconds": 240}
    yield _event("SessionCompleted", at, of | end, chance)


def answer(
    learner: str, session_id: str, at: datetime, item: str, chance: random.Random
) -> Envelope:
    took = chance.randint(800, 9_000)
    kind = "CorrectAnswerGiven" if chance.random() < 0.85 else "IncorrectAnswerGiven"
    of = {"user_id": learner, "session_id": session_id}
    return _event(kind, at, of | {"item_id": item, "response_time_ms": took}, chance)


def retract(learner: str, event_id: str, at: datetime) -> Envelope:
    data = {"user_id": learner, "retracted_event_id": event_id}
    return _event("EventRetracted", at, data, random.Random(event_id))


def change_zone(learner: str, zone: str, at: datetime, number: int) -> Envelope:
    data = {"user_id": learner, "timezone": zone}
    return _event("UserPreferencesChanged", at, data, random.Random(f"{learner} {number}"))


def join_group(learner: str, group: str) -> Envelope:
    data = {"user_id": learner, "group_id": group}
    return _event("LearnerJoinedGroup", _BEGIN, data, random.Random(f"{learner} {group}"))


def list_items(list_id: str, items: Sequence[str]) -> Iterator[Envelope]:
    chance, of = random.Random(list_id), {"list_id": list_id}
    yield _event("ListPublished", _BEGIN, of | {"name": list_id}, chance)
    for item in items:
        yield _event("ItemListed", _BEGIN, of | {"item_id": item}, chance)


def _event(kind: str, at: datetime, data: dict[str, Any], chance: random.Random) -> Envelope:
    return {
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "event_type": kind,
        "occurred_at": at.isoformat(),
        "data": data,
        "metadata": {},
    }


def delivery(batch: list[Envelope]) -> Delivery:
    """Return a delivery with these events, as ingest decodes it."""
    message = Message(subscription="bench", message_id=str(uuid.uuid4()))
    return Delivery(message, envelope.decode(msgspec.json.encode(batch), message))
