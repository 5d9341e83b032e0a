"""If the reply to a committed append is lost, the next delivery sends the wake-ups."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from werkzeug.test import Client

from tests.conftest import Store
from tests.support import pushes
from tests.support.envelopes import Envelope, answer, session_started
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_wire import Wire
from tests.support.pushes import encode_push


@dataclass(frozen=True)
class LossyIngest:
    """The ingest function, whose connection to the database can lose replies."""

    client: Client
    store: Store
    wire: Wire
    publisher: FakePublisher

    def deliver(self, body: bytes) -> None:
        """Push the body, and assert that ingest accepts the push."""
        assert self.client.post("/", data=body).status_code == 204

    def lose(self, events: list[Envelope]) -> bytes:
        """Push the events, but lose the replies of the database; return the body.

        The events are committed, although ingest responds with 503.
        """
        self.wire.answers_to_lose = 2  # replies to the append and to the next connection's start
        body = encode_push(events)
        assert self.client.post("/", data=body).status_code == 503
        assert self.wire.answers_to_lose == 0
        assert self.publisher.shards() == []
        return body

    def assert_every_shard_woken_once(self) -> None:
        """Assert one wake-up for each shard that has events."""
        with closing(self.store.connect()) as connection:
            rows = connection.run("SELECT DISTINCT shard FROM event_store.events ORDER BY shard")
        assert sorted(self.publisher.shards()) == [shard for (shard,) in rows] != []


@pytest.fixture
def ingest(store: Store, wire: Wire, fake_publisher: FakePublisher) -> Iterator[LossyIngest]:
    """Ingest with an open database connection, before its first wake-up."""
    with pushes.load_ingest(wire.url, fake_publisher) as client:
        function = LossyIngest(client, store, wire, fake_publisher)
        function.deliver(encode_push([]))
        yield function


several = pytest.mark.parametrize("learners", [["u"], ["u", "v", "w"]], ids=["one", "several"])


def starts(learners: list[str]) -> list[Envelope]:
    return [session_started(session=user, user=user) for user in learners]


@several
def test_a_redelivery_wakes_the_shards_of_its_events(
    ingest: LossyIngest, learners: list[str]
) -> None:
    ingest.deliver(ingest.lose(starts(learners)))
    ingest.assert_every_shard_woken_once()


@several
def test_an_append_that_is_repeated_within_a_request_wakes_the_shards_of_the_events(
    ingest: LossyIngest, learners: list[str]
) -> None:
    ingest.wire.answers_to_lose = 1
    ingest.deliver(encode_push(starts(learners)))
    assert ingest.wire.answers_to_lose == 0
    ingest.assert_every_shard_woken_once()


@several
def test_events_that_conflict_with_stored_events_wake_the_shards_of_the_stored_events(
    ingest: LossyIngest, learners: list[str]
) -> None:
    events = starts(learners)
    ingest.lose(events)
    others = [event | {"occurred_at": "2024-03-02T00:00:00Z"} for event in events]
    ingest.deliver(encode_push(others))
    ingest.assert_every_shard_woken_once()


@pytest.mark.parametrize("count", [1, 3])
def test_a_redelivered_event_wakes_its_shard_if_its_session_was_recorded_meanwhile(
    ingest: LossyIngest, count: int
) -> None:
    pending = encode_push([answer() for _ in range(count)])
    ingest.deliver(pending)
    ingest.lose([session_started()])
    ingest.deliver(pending)
    ingest.assert_every_shard_woken_once()


def test_a_redelivered_session_start_wakes_the_shard_of_the_events_that_waited_for_it(
    ingest: LossyIngest,
) -> None:
    ingest.deliver(encode_push([answer()]))
    ingest.deliver(ingest.lose([session_started()]))
    ingest.assert_every_shard_woken_once()


def test_a_redelivery_that_is_invalid_by_the_current_rules_wakes_its_shard(
    ingest: LossyIngest,
) -> None:
    begin = session_started()
    ingest.lose([begin])
    with closing(ingest.store.connect()) as connection:
        connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
        connection.run(
            """UPDATE event_store.events SET event_data = event_data || '{"item_count": -9}'"""
        )
    begin["data"]["item_count"] = -9
    ingest.deliver(encode_push([begin]))
    ingest.assert_every_shard_woken_once()
