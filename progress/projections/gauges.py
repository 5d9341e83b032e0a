"""Gauges of the batch job: the size of the store, the lag of the projections and publication."""

import time
from datetime import UTC, datetime

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.errors import DatabaseUnavailable
from progress.projections import live, schema

_FILE = "projections/gauges"


class Gauges(msgspec.Struct, frozen=True):
    """The measured values; `metric_fields.json` describes each."""

    projection_lag: int
    projection_lag_ms: float
    dead_letters: int
    letter_share: float
    database_connections: float
    database_bytes: int
    failed_operations: int
    overdue_operations: int
    running_operations: int
    publication_lag_ms: float
    pending_ms: float
    database_ms: float


def measure(connection: Connection) -> Gauges:
    """Return the current values; raise DatabaseUnavailable if the database does not respond."""
    with database.translate_errors(_translate):
        schema.set_search_path(connection, live.find(connection).first)
        row = database.run(connection, _FILE, "measure", now=datetime.now(UTC))[0]
        return Gauges(*[*row, _measure_round_trip(connection)])


def _measure_round_trip(connection: Connection) -> float:
    """Return the median of five round trips, in ms."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        database.run(connection, _FILE, "ping")
        times.append(1_000 * (time.perf_counter() - began))
    return sorted(times)[2]


def _translate(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"nothing was measured: {failure.message}")
