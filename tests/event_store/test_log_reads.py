"""Queries read the log through its indexes, even if the log was never vacuumed."""

from datetime import UTC, datetime

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store.log import PostgresEventStore
from progress.event_store.timestamps import EARLIEST
from progress.projections import batch, gauges, projector
from progress.projections.projector import SHARDS, Projector
from tests.support import model_rows, sample_events
from tests.support.stage import append

_EVENTS = 30_000
_FETCHED = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'events'"


def reads(connection: Connection) -> int:
    connection.run("SELECT pg_stat_force_next_flush()")
    count: int = model_rows.read_value(connection, "reads from end to end")
    return count


@pytest.fixture
def unvacuumed(connection: Connection) -> Connection:
    """A connection to a log whose events are folded; the log was analyzed, but never vacuumed."""
    connection.run("ALTER TABLE event_store.events SET (autovacuum_enabled = off)")
    append(connection, sample_events.lesson("ann", 0))
    model_rows.read_value(connection, "repeat", events=_EVENTS)
    Projector(connection).catch_up_all()
    batch.fold(connection, list(projector.SHARDS))
    connection.run("ANALYZE event_store.events")
    return connection


def test_events_that_wait_for_a_fold_are_found_without_scanning_the_log(
    unvacuumed: Connection,
) -> None:
    before = reads(unvacuumed)
    projector = Projector(unvacuumed)
    assert [projector.count_waiting(shard)[0] for shard in SHARDS] == [0] * 16
    assert batch.run(unvacuumed).is_whole
    assert gauges.measure(unvacuumed).projection_lag == 0
    assert reads(unvacuumed) == before


def test_the_events_of_a_type_are_read_from_an_index_alone(unvacuumed: Connection) -> None:
    """The statement reads one row of the type; the binary search for the times reads few rows."""
    append(unvacuumed, sample_events.choices("ben"))
    scans, before = reads(unvacuumed), unvacuumed.run(_FETCHED)[0][0]
    store = PostgresEventStore(unvacuumed)
    (event,) = store.read_events_by_type("GoalSet", EARLIEST, datetime.now(UTC))
    assert event.stream_id == "learner-ben"
    assert reads(unvacuumed) == scans
    assert unvacuumed.run(_FETCHED)[0][0] - before < 100
