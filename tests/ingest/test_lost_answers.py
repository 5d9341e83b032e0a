"""If the reply to a committed append is lost, the next delivery sends the wake-ups."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from werkzeug.test import Client

from progress import settings
from progress.adapters.pubsub import wakeups
from tests.conftest import Store
from tests.support import pushes
from tests.support.fake_publisher import FakePublisher, fake_publisher
from tests.support.postgres_wire import Wire, wire
from tests.support.pushes import encode_push

__all__ = ["fake_publisher", "wire"]

SESSION = {"session_id": "s"}
Event = dict[str, Any]


@pytest.fixture
def ingest(
    wire: Wire, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of the ingest function, which has connected to the database but sent no wake-up."""
    monkeypatch.setenv("DATABASE_URL", wire.url)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    settings.current.cache_clear()
    wakeups.publisher.cache_clear()
    with pushes.load_function("ingest") as called:
        assert called.post("/", data=encode_push([])).status_code == 204
        yield called
    settings.current.cache_clear()
    wakeups.publisher.cache_clear()


def event(kind: str, **data: object) -> Event:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": kind,
        "occurred_at": "2024-03-01T00:00:00Z",
        "data": SESSION | data,
    }


def start(user: str) -> Event:
    return event("SessionStarted", user_id=user, item_count=1)


def answer() -> Event:
    return event("CorrectAnswerGiven", item_id="i", response_time_ms=1)


def shards(store: Store) -> list[int]:
    """Return the shards that have events."""
    with closing(store.connect()) as connection:
        rows = connection.run("SELECT DISTINCT shard FROM event_store.events ORDER BY shard")
    return [row[0] for row in rows]


@pytest.fixture
def lose(
    ingest: Client, wire: Wire, fake_publisher: FakePublisher
) -> Callable[[list[Event]], bytes]:
    """A function that commits events, although ingest loses the reply and responds with 503."""

    def deliver(events: list[Event]) -> bytes:
        wire.answers_to_lose = 2  # the replies to the append and to the next connection's start
        body = encode_push(events)
        assert ingest.post("/", data=body).status_code == 503
        assert wire.answers_to_lose == 0
        assert fake_publisher.shards() == []
        return body

    return deliver


several = pytest.mark.parametrize("learners", [["u"], ["u", "v", "w"]], ids=["one", "several"])


def starts(learners: list[str]) -> list[Event]:
    return [
        start(user) | {"data": {"session_id": user, "user_id": user, "item_count": 1}}
        for user in learners
    ]


@several
def test_a_redelivery_wakes_the_shards_of_its_events(
    ingest: Client,
    store: Store,
    fake_publisher: FakePublisher,
    lose: Callable[[list[Event]], bytes],
    learners: list[str],
) -> None:
    body = lose(starts(learners))
    assert ingest.post("/", data=body).status_code == 204
    assert sorted(fake_publisher.shards()) == shards(store) != []


@several
def test_the_second_attempt_of_a_request_wakes_the_shards_of_its_events(
    ingest: Client, store: Store, wire: Wire, fake_publisher: FakePublisher, learners: list[str]
) -> None:
    wire.answers_to_lose = 1
    assert ingest.post("/", data=encode_push(starts(learners))).status_code == 204
    assert wire.answers_to_lose == 0
    assert sorted(fake_publisher.shards()) == shards(store) != []


@several
def test_a_conflict_wakes_the_shards_of_the_stored_events(
    ingest: Client,
    store: Store,
    fake_publisher: FakePublisher,
    lose: Callable[[list[Event]], bytes],
    learners: list[str],
) -> None:
    events = starts(learners)
    lose(events)
    others = [event | {"occurred_at": "2024-03-02T00:00:00Z"} for event in events]
    assert ingest.post("/", data=encode_push(others)).status_code == 204
    assert sorted(fake_publisher.shards()) == shards(store) != []


@pytest.mark.parametrize("count", [1, 3])
def test_a_redelivered_event_wakes_its_shard_if_it_is_no_longer_pending(
    ingest: Client,
    store: Store,
    fake_publisher: FakePublisher,
    lose: Callable[[list[Event]], bytes],
    count: int,
) -> None:
    pending = encode_push([answer() for _ in range(count)])
    assert ingest.post("/", data=pending).status_code == 204
    lose([start("u")])
    assert ingest.post("/", data=pending).status_code == 204
    assert fake_publisher.shards() == shards(store) != []


def test_a_redelivered_session_start_wakes_the_shard_of_released_events(
    ingest: Client,
    store: Store,
    fake_publisher: FakePublisher,
    lose: Callable[[list[Event]], bytes],
) -> None:
    assert ingest.post("/", data=encode_push([answer()])).status_code == 204
    body = lose([start("u")])
    assert ingest.post("/", data=body).status_code == 204
    assert fake_publisher.shards() == shards(store) != []


def test_a_redelivery_that_is_invalid_by_the_current_rules_wakes_its_shard(
    ingest: Client,
    store: Store,
    fake_publisher: FakePublisher,
    lose: Callable[[list[Event]], bytes],
) -> None:
    begin = start("u")
    lose([begin])
    with closing(store.connect()) as connection:
        connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
        connection.run(
            """UPDATE event_store.events SET event_data = event_data || '{"item_count": 90000}'"""
        )
    begin["data"]["item_count"] = 90_000
    assert ingest.post("/", data=encode_push([begin])).status_code == 204
    assert fake_publisher.shards() == shards(store) != []
