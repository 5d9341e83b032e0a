"""The ingest function: its responses, the stored events, and the shards that it wakes."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import Client

from progress.adapters.postgres import database
from tests.conftest import Store
from tests.support import model_rows, pushes
from tests.support.envelopes import session_started
from tests.support.fake_publisher import FakePublisher
from tests.support.pushes import PUBLISHED, encode_push


@pytest.fixture
def ingest(store: Store, fake_publisher: FakePublisher) -> Iterator[Client]:
    with pushes.load_ingest(store.url, fake_publisher) as client:
        yield client


def count(url: str) -> int:
    with closing(database.connect(url)) as connection:
        number: int = connection.run("SELECT count(*) FROM event_store.events")[0][0]
    return number


def letters(store: Store) -> list[list[Any]]:
    with closing(store.connect()) as connection:
        rows: list[list[Any]] = connection.run(
            "SELECT kind, reason, topic, subscription, message_id, index_in_message "
            "FROM event_store.dead_letters ORDER BY letter_id"
        )
    return rows


def test_an_event_is_stored_and_its_shard_is_woken(
    ingest: Client, store: Store, fake_publisher: FakePublisher, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = encode_push(session_started(), attributes={"googclient_traceparent": trace})
    began = datetime.now(UTC)
    assert ingest.post("/", data=body).status_code == 204
    assert count(store.url) == 1
    (request,) = fake_publisher.requests
    assert request.topic == "projects/effect-local/topics/progress-commands"
    with closing(store.connect()) as connection:
        assert fake_publisher.shards() == [
            connection.run("SELECT event_store.shard_of('learner-u')")[0][0]
        ]
    attributes = dict(request.messages[0].attributes)
    assert attributes["traceparent"] == trace
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert attributes["event_delay_ms"] == str(line["event_delay_ms"])
    assert line["severity"] == "INFO"
    # The logged delay ends at the commit, before the wake-up is sent.
    recorded = datetime.fromisoformat(PUBLISHED) + timedelta(milliseconds=line["event_delay_ms"])
    rounded = timedelta(milliseconds=1)
    assert began - rounded <= recorded <= fake_publisher.times[0] + rounded
    assert line["logging.googleapis.com/trace"].endswith(trace.split("-")[1])


def test_each_shard_of_a_delivery_is_woken_once(
    ingest: Client, fake_publisher: FakePublisher
) -> None:
    array = [session_started(f"s{n}", f"u{n}") for n in range(200)]
    assert ingest.post("/", data=encode_push(array)).status_code == 204
    assert sorted(fake_publisher.shards()) == list(range(16))
    again = [encode_push(array), encode_push([])]
    assert [ingest.post("/", data=body).status_code for body in again] == [204, 204]
    assert sorted(fake_publisher.shards()) == sorted(2 * list(range(16)))
    assert len(fake_publisher.requests) == 2


def test_an_event_is_recorded_even_if_its_wake_up_cannot_be_sent(
    ingest: Client, store: Store, fake_publisher: FakePublisher
) -> None:
    fake_publisher.close()
    assert ingest.post("/", data=encode_push(session_started())).status_code == 204
    assert count(store.url) == 1


def test_the_topic_is_taken_from_the_eventarc_headers(ingest: Client, store: Store) -> None:
    headers = {
        "ce-id": "1",
        "ce-specversion": "1.0",
        "ce-time": "2024-03-01T00:00:00Z",
        "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
        "ce-source": "//pubsub.googleapis.com/projects/p/topics/learning-events",
    }
    body = encode_push([session_started(), {}], message_id="m")
    assert ingest.post("/", data=body, headers=headers).status_code == 204
    assert count(store.url) == 1
    assert letters(store) == [
        [
            "malformed",
            "expected event_type, found none - at $.event_type",
            "projects/p/topics/learning-events",
            "projects/p/subscriptions/s",
            "m",
            1,
        ]
    ]


NO_PUSHES = [
    b"",
    b"nonsense",
    b"[" * 5_000,
    b"\xff\xfe",
    b'{"message": null}',
    b'{"message": {"data": "no base64!"}}',
    b'{"message": {"data": 5}}',
    b'{"message": {"messageId": "k"}}',
    b'{"message": {"messageId": "m\\u0000", "data": "e30="}}',
    b'{"message": {"messageId": "\\ud800"}}',
    b'{"message": {"messageId": "n", "attributes": {"event_id": "\\u0000"}}}',
    b'{"message": {"messageId": "o", "publishTime": "soon", "data": "bnVsbA=="}}',
    b'{"message": {"messageId": "p", "data": null, "attributes": null}}',
]


def test_bodies_that_are_no_pushes_become_one_dead_letter_each(
    ingest: Client, store: Store
) -> None:
    for number, body in enumerate(NO_PUSHES, start=1):
        assert [ingest.post("/", data=body).status_code for _ in range(2)] == [204, 204]
        found = letters(store)
        assert (len(found), found[-1][0], found[-1][-1]) == (number, "malformed", 0), body


@pytest.fixture
def erased(store: Store) -> str:
    with closing(store.connect()) as connection:
        connection.run("SELECT event_store.forbid_learner('erika', gen_random_uuid())")
    return "erika"


def test_events_of_erased_learners_are_dropped_and_the_log_line_contains_only_their_number(
    ingest: Client,
    store: Store,
    erased: str,
    fake_publisher: FakePublisher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ingest.post("/", data=encode_push(session_started("s", erased))).status_code == 204
    assert fake_publisher.requests == []
    with closing(store.connect()) as connection:
        for table in ("events", "pending", "dead_letters"):
            assert model_rows.read_table(connection, f"event_store.{table}") == []
    batch = [session_started(f"s{n}", user) for n, user in enumerate((erased, "ben", erased))]
    assert ingest.post("/", data=encode_push(batch)).status_code == 204
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["erased"] for line in lines if "erased" in line] == [1, 2]
    assert erased not in output
    assert len(fake_publisher.shards()) == 1
