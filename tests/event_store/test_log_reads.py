"""The log is read by its indexes, whatever the planner takes a log without a vacuum for."""

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch, gauges, projector
from progress.projections.projector import SHARDS, Projector
from tests.support import model_rows, sample_events
from tests.support.stage import append

_EVENTS = 30_000


def reads(connection: Connection) -> int:
    """Return how often the whole log was read."""
    connection.run("SELECT pg_stat_force_next_flush()")
    found: int = model_rows.read_value(connection, "reads from end to end")
    return found


@pytest.fixture
def unvacuumed(connection: Connection) -> Connection:
    """A log of many events, all folded, of which the planner knows the size alone."""
    connection.run("ALTER TABLE event_store.events SET (autovacuum_enabled = off)")
    append(connection, sample_events.lesson("ann", 0))
    model_rows.read_value(connection, "repeat", events=_EVENTS)
    Projector(connection).catch_up_all()
    batch.fold(connection, list(projector.SHARDS))
    connection.run("ANALYZE event_store.events")
    return connection


def test_what_is_left_is_found_by_index(unvacuumed: Connection) -> None:
    before = reads(unvacuumed)
    projector = Projector(unvacuumed)
    assert [projector.count_waiting(shard) for shard in SHARDS] == [0] * 16
    assert batch.run(unvacuumed).is_whole
    assert gauges.measure(unvacuumed).projection_lag == 0
    assert reads(unvacuumed) == before
