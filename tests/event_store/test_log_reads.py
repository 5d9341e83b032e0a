"""Queries read the log through its indexes, even if the log was never vacuumed."""

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch, gauges, projector
from progress.projections.projector import SHARDS, Projector
from tests.support import model_rows, sample_events
from tests.support.stage import append

_EVENTS = 30_000


def reads(connection: Connection) -> int:
    """Return the number of sequential scans of the log."""
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
    assert [projector.count_waiting(shard) for shard in SHARDS] == [0] * 16
    assert batch.run(unvacuumed).is_whole
    assert gauges.measure(unvacuumed).projection_lag == 0
    assert reads(unvacuumed) == before
