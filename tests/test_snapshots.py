"""Snapshots: the newest three of a stream, and none that other projections made."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Store

from progress import snapshots
from progress.database import Connection
from progress.snapshots import Policy, Snapshot

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    made = store.connect()
    yield made
    made.close()


def snapshot(version: int, *, fingerprint: str = "now", stream: str = "learner-u") -> Snapshot:
    newest = START + timedelta(days=version)
    return Snapshot(stream, version, fingerprint, newest, {"answers": version, "of": ["é"]})


def kept(connection: Connection) -> list[int]:
    rows = connection.run("SELECT stream_version FROM event_store.snapshots ORDER BY 1")
    return [row[0] for row in rows]


def test_the_latest_is_found(connection: Connection) -> None:
    for version in (100, 200):
        snapshots.save_snapshot(connection, snapshot(version))
    snapshots.save_snapshot(connection, snapshot(300, stream="learner-v"))
    found = snapshots.get_latest_snapshot(connection, "learner-u", "now")
    assert found is not None
    assert (found.stream_version, found.state) == (200, {"answers": 200, "of": ["é"]})
    assert found.newest_occurred_at == START + timedelta(days=200)
    assert snapshots.get_latest_snapshot(connection, "learner-w", "now") is None


def test_only_what_lies_before_a_moment_starts_an_answer_for_it(connection: Connection) -> None:
    for version in (100, 200):
        snapshots.save_snapshot(connection, snapshot(version))
    found = snapshots.get_latest_snapshot(
        connection, "learner-u", "now", before=START + timedelta(days=199)
    )
    assert found is not None
    assert found.stream_version == 100
    assert snapshots.get_latest_snapshot(connection, "learner-u", "now", before=START) is None


def test_the_newest_three_are_kept(connection: Connection) -> None:
    for version in range(100, 600, 100):
        snapshots.save_snapshot(connection, snapshot(version))
    assert kept(connection) == [300, 400, 500]
    snapshots.save_snapshot(connection, snapshot(500))
    assert kept(connection) == [300, 400, 500]
    snapshots.save_snapshot(connection, snapshot(600), Policy(max_snapshots=1))
    assert kept(connection) == [600]


def test_another_fingerprint_s_is_never_used(connection: Connection) -> None:
    snapshots.save_snapshot(connection, snapshot(100, fingerprint="before"))
    assert snapshots.get_latest_snapshot(connection, "learner-u", "now") is None
    snapshots.save_snapshot(connection, snapshot(100))
    assert snapshots.get_latest_snapshot(connection, "learner-u", "now") is not None
