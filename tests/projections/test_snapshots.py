"""The newest three snapshots of a stream are kept; those with another fingerprint are not used."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError
from progress.event_store import EventStore, Snapshot
from progress.event_store.log import PostgresEventStore
from progress.projections import batch, projector, rebuild, snapshots
from progress.projections.snapshots import Policy
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def event_store(connection: Connection) -> EventStore:
    return PostgresEventStore(connection)


def snapshot(version: int, *, fingerprint: str = "now", stream: str = "learner-u") -> Snapshot:
    newest = START + timedelta(days=version)
    return Snapshot(stream, version, fingerprint, newest, {"answers": version, "of": ["é"]})


def kept(connection: Connection) -> list[int]:
    rows = connection.run("SELECT stream_version FROM event_store.snapshots ORDER BY 1")
    return [row[0] for row in rows]


def test_the_newest_three_snapshots_are_kept_and_one_replaces_that_of_its_version(
    event_store: EventStore, connection: Connection
) -> None:
    for version in range(100, 600, 100):
        event_store.save_snapshot(snapshot(version))
    assert kept(connection) == [300, 400, 500]
    event_store.save_snapshot(msgspec.structs.replace(snapshot(500), state={"answers": 1}))
    event_store.save_snapshot(snapshot(200))
    assert kept(connection) == [300, 400, 500]
    latest = event_store.get_latest_snapshot("learner-u", "now")
    assert latest
    assert latest.state == {"answers": 1}
    assert event_store.get_latest_snapshot("learner-u", "another fingerprint") is None
    event_store.save_snapshot(snapshot(600), max_snapshots=1)
    assert kept(connection) == [600]
    with pytest.raises(EventStoreError, match="max_snapshots must be at least 1"):
        event_store.save_snapshot(snapshot(2_000), max_snapshots=0)


def test_no_snapshot_of_an_erased_learner_is_saved(
    event_store: EventStore, connection: Connection
) -> None:
    connection.run("SELECT event_store.forbid_learner('u', gen_random_uuid())")
    event_store.save_snapshot(snapshot(100))
    event_store.save_snapshot(snapshot(200, stream="learner-v"))
    assert kept(connection) == [200]


def test_a_snapshot_with_a_state_that_postgresql_cannot_store_is_rejected(
    event_store: EventStore, connection: Connection
) -> None:
    for text in ("\0", "\udcff"):
        with pytest.raises(EventStoreError):
            event_store.save_snapshot(msgspec.structs.replace(snapshot(100), state={"a": text}))
    assert kept(connection) == []


def test_a_batch_run_takes_one_snapshot_after_at_least_100_events(connection: Connection) -> None:
    rounds: dict[int, list[int]] = {
        12: [], 13: [104], 25: [104], 26: [104, 208], 52: [104, 208, 416]
    }  # fmt: skip
    for number, versions in rounds.items():
        recorded = connection.run("SELECT count(*) / 8 FROM event_store.events")[0][0]
        for lesson in range(recorded, number):  # each lesson has eight events
            append(connection, sample_events.lesson("ann", lesson))
        batch.run(connection)
        batch.run(connection)
        assert kept(connection) == versions


def test_a_snapshot_has_the_rows_of_its_learner_only(connection: Connection) -> None:
    states = []
    for learner in ("ann", "ben"):
        append(connection, sample_events.varied_study(learner))
        projector.Projector(connection).catch_up_all()
        states += connection.run("SELECT snapshot_state('ann')")
    assert states[0] == states[1]
    assert all(states[0][0].values())


def test_the_batch_job_and_other_programs_do_not_touch_each_others_snapshots(
    store: Store, event_store: EventStore, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann", lessons=13)
    for version in (100, 101, 102, 103):
        early = datetime(2000, 1, 1, tzinfo=UTC)
        event_store.save_snapshot(Snapshot("learner-ann", version, "words-1", early, {"words": 1}))
    batch.run(connection)
    assert kept(connection) == [101, 102, 103, 104]
    event_store.save_snapshot(snapshot(50, fingerprint="words-2", stream="learner-ann"))
    assert kept(connection) == [50, 101, 102, 103, 104]
    (taken,) = connection.run("SELECT max(newest_occurred_at) FROM event_store.snapshots")[0]
    assert taken == event_store.read_events("learner-ann", 104)[0].occurred_at
    event_store.save_snapshot(snapshot(200, fingerprint="0123456789ab-1", stream="learner-ann"))
    newest = event_store.get_latest_snapshot("learner-ann")
    assert newest is not None
    assert (newest.stream_version, "user_progress" in newest.state) == (104, True)
    rebuild.run(lambda: database.connect(store.url))
    assert kept(connection) == [50, 101, 102, 103]
    usable = event_store.get_latest_snapshot("learner-ann")
    assert usable is not None
    assert (usable.stream_version, usable.fingerprint) == (103, "words-1")
    batch.run(connection)  # takes it again
    assert kept(connection) == [50, 101, 102, 103, 104]
    again = event_store.get_latest_snapshot("learner-ann")
    assert again is not None
    assert again.fingerprint != newest.fingerprint
    for each in (newest, again):
        del each.state["user_progress"]  # its version is a transaction's number, which differs
    assert again.state == newest.state


def test_the_swap_of_a_rebuild_waits_for_a_snapshot_that_is_being_taken(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann", lessons=1)
    projector.Projector(connection).catch_up_all()
    batch.fold(connection, list(projector.SHARDS))
    connection.run("BEGIN")
    assert snapshots.take(connection, Policy(event_interval=8)) == 1
    with closing(store.connect()) as watching, ThreadPoolExecutor(1) as pool:
        building = pool.submit(rebuild.run, lambda: store.connect("rebuild"))
        while not model_rows.read_value(watching, "waits for its turn", application="rebuild"):
            assert not building.done(), "the swap did not wait for the snapshot"
            time.sleep(0.005)
        connection.run("COMMIT")
        building.result()


def test_every_learner_gets_a_snapshot_even_if_there_are_many_learners(
    connection: Connection,
) -> None:
    users = [f"u{number}" for number in range(120)]  # more learners than one transaction handles
    sample_events.record_lessons(connection, *users, lessons=1)
    connection.run("INSERT INTO snapshot_learners SELECT 'nobody'")
    projector.Projector(connection).catch_up_all()
    batch.fold(connection, list(projector.SHARDS))
    assert snapshots.take(connection, Policy(event_interval=8)) == len(users)
    assert kept(connection) == [8] * len(users)
