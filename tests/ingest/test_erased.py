"""Ingest acknowledges and drops the events of erased learners, and logs only their number."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from werkzeug.test import Client

from tests.conftest import Store
from tests.support import model_rows, pushes
from tests.support.envelopes import session_started
from tests.support.fake_publisher import FakePublisher
from tests.support.pushes import encode_push


@pytest.fixture
def ingest(store: Store, fake_publisher: FakePublisher) -> Iterator[Client]:
    """A client of the ingest function, for a log in which the learner erika is erased."""
    with closing(store.connect()) as connection:
        connection.run("SELECT event_store.forbid_learner('erika', gen_random_uuid())")
    with pushes.load_ingest(store.url, fake_publisher) as client:
        yield client


def test_the_log_line_contains_the_number_of_dropped_events_but_no_id(
    ingest: Client, fake_publisher: FakePublisher, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = [session_started(f"s{n}", user) for n, user in enumerate(("erika", "ben", "erika"))]
    assert ingest.post("/", data=encode_push(batch)).status_code == 204
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["erased"] for line in lines if "erased" in line] == [2]
    assert "erika" not in output
    assert len(fake_publisher.shards()) == 1


def test_a_message_with_only_events_of_erased_learners_is_acknowledged(
    ingest: Client, fake_publisher: FakePublisher, store: Store
) -> None:
    assert ingest.post("/", data=encode_push(session_started("s", "erika"))).status_code == 204
    assert fake_publisher.requests == []
    with closing(store.connect()) as connection:
        for table in ("events", "pending", "dead_letters"):
            assert model_rows.read_table(connection, f"event_store.{table}") == []
