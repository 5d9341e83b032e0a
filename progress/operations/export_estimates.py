"""Estimates of an export's work, by which a request that is too large is rejected when it is made.

This module must not import pg8000, which the query function starts without.
"""

from typing import Any, NamedTuple

from progress.operations.export_files import FileFormat, StatisticsTable

MAX_BYTES = 1 << 30  # that a step may read out

# Measured by `python -m bench export statistics` on a machine that other work slowed to a quarter.
_USER_BYTES_PER_S = 3_000_000
_ROWS_PER_S = {FileFormat.CSV: 50_000, FileFormat.PARQUET: 40_000}
_EVENT_BYTES = 170  # of an envelope, besides the data and metadata of its event
_ROW_BYTES = {
    StatisticsTable.DAILY: 100,
    StatisticsTable.WEEKLY: 110,
    StatisticsTable.DOMAIN: 90,
    StatisticsTable.LEVEL: 90,
    StatisticsTable.ITEM: 250,
}


class Estimate(NamedTuple):
    """The seconds that a step takes, and the bytes that it reads out."""

    seconds: float
    bytes: int


def estimate_user(events: int, event_bytes: int) -> Estimate:
    """Estimate the export of a record; `event_bytes` is the mean size of its events."""
    size = events * (_EVENT_BYTES + event_bytes)
    return Estimate(size / _USER_BYTES_PER_S, size)


def estimate_statistics(table: StatisticsTable, format_: FileFormat, rows: int) -> Estimate:
    """Estimate the export of so many rows."""
    return Estimate(rows / _ROWS_PER_S[format_], rows * _ROW_BYTES[table])


def read_rows(plan: Any) -> int:
    """Return the number of rows that PostgreSQL's EXPLAIN (FORMAT JSON) expects."""
    return int(plan[0]["Plan"]["Plan Rows"])
