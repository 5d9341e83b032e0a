"""The newest three snapshots of a stream are kept; those with another fingerprint are not used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import EventStore, Snapshot
from progress.event_store.log import PostgresEventStore
from progress.projections import batch, projector, rebuild, snapshots
from progress.projections.snapshots import Policy
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    made = store.connect()
    yield made
    made.close()


@pytest.fixture
def event_store(connection: Connection) -> EventStore:
    return PostgresEventStore(connection)


def snapshot(version: int, *, fingerprint: str = "now", stream: str = "learner-u") -> Snapshot:
    newest = START + timedelta(days=version)
    return Snapshot(stream, version, fingerprint, newest, {"answers": version, "of": ["é"]})


def kept(connection: Connection) -> list[int]:
    rows = connection.run("SELECT stream_version FROM event_store.snapshots ORDER BY 1")
    return [row[0] for row in rows]


def test_the_latest_snapshot_is_returned(event_store: EventStore) -> None:
    for version in (100, 200):
        event_store.save_snapshot(snapshot(version))
    event_store.save_snapshot(snapshot(300, stream="learner-v"))
    latest = event_store.get_latest_snapshot("learner-u", "now")
    assert latest is not None
    assert (latest.stream_version, latest.state) == (200, {"answers": 200, "of": ["é"]})
    assert latest.newest_occurred_at == START + timedelta(days=200)
    assert event_store.get_latest_snapshot("learner-w", "now") is None


def test_the_newest_three_snapshots_are_kept(
    event_store: EventStore, connection: Connection
) -> None:
    for version in range(100, 600, 100):
        event_store.save_snapshot(snapshot(version))
    assert kept(connection) == [300, 400, 500]
    event_store.save_snapshot(snapshot(500))
    assert kept(connection) == [300, 400, 500]
    event_store.save_snapshot(snapshot(600), max_snapshots=1)
    assert kept(connection) == [600]


def test_a_snapshot_with_a_different_fingerprint_is_not_used(event_store: EventStore) -> None:
    event_store.save_snapshot(snapshot(100, fingerprint="before"))
    assert event_store.get_latest_snapshot("learner-u", "now") is None
    event_store.save_snapshot(snapshot(100))
    assert event_store.get_latest_snapshot("learner-u", "now") is not None


def test_the_batch_job_takes_a_snapshot_every_100_events(store: Store) -> None:
    job = connect(store.url)
    for number, versions in ((12, []), (13, [104]), (25, [104]), (26, [104, 208])):
        recorded = job.run("SELECT count(*) / 8 FROM event_store.events")[0][0]
        for lesson in range(recorded, number):  # each lesson has eight events
            append(job, sample_events.lesson("ann", lesson))
        batch.run(job)
        batch.run(job)
        assert kept(job) == versions
    job.close()


def test_all_snapshots_are_taken_again_after_a_rebuild(store: Store) -> None:
    job = connect(store.url)
    for lesson in range(13):
        append(job, sample_events.lesson("ann", lesson))
    batch.run(job)
    (before,) = job.run("SELECT fingerprint, state FROM event_store.snapshots")
    rebuild.run(lambda: database.connect(store.url))
    assert kept(job) == []
    batch.run(job)
    (after,) = job.run("SELECT fingerprint, state FROM event_store.snapshots")
    assert kept(job) == [104]
    assert before[0] != after[0]
    for of_a_fold in (before, after):
        del of_a_fold[1]["user_progress"]  # its version is a transaction's number, which differs
    assert before[1] == after[1]
    job.close()


def test_the_batch_job_empties_the_queue_that_a_rebuild_fills(store: Store) -> None:
    job = connect(store.url)
    sample_events.record_lessons(job, "ann", "ben")
    batch.run(job)
    assert queued(job) == []
    rebuild.run(lambda: database.connect(store.url))
    assert queued(job) == ["ann", "ben"]
    batch.run(job)
    assert queued(job) == []
    job.close()


def queued(connection: Connection) -> list[str]:
    """Return the learners in the queue for snapshots."""
    return [row[0] for row in connection.run("SELECT user_id FROM snapshot_learners ORDER BY 1")]


def test_the_swap_of_a_rebuild_waits_for_a_snapshot_that_is_being_taken(store: Store) -> None:
    job, watching = connect(store.url), connect(store.url)
    sample_events.record_lessons(job, "ann", lessons=1)
    projector.Projector(job).catch_up_all()
    batch.fold(job, list(projector.SHARDS))
    job.run("BEGIN")
    assert snapshots.take(job, Policy(event_interval=8)) == 1
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(rebuild.run, lambda: store.connect("rebuild"))
        while not model_rows.read_value(watching, "waits for its turn", application="rebuild"):
            assert not building.done(), "the swap did not wait for the snapshot"
        job.run("COMMIT")
        building.result()
    for opened in (job, watching):
        opened.close()


def test_every_learner_gets_a_snapshot_even_if_there_are_many_learners(store: Store) -> None:
    job = connect(store.url)
    users = [f"u{number}" for number in range(120)]  # more learners than one transaction handles
    sample_events.record_lessons(job, *users, lessons=1)
    job.run("INSERT INTO snapshot_learners SELECT 'nobody'")
    projector.Projector(job).catch_up_all()
    batch.fold(job, list(projector.SHARDS))
    assert snapshots.take(job, Policy(event_interval=8)) == len(users)
    assert kept(job) == [8] * len(users)
    job.close()
