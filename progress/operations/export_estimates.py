"""Estimates of an export's time and size. Requests for exports that are too large are rejected.

The query function imports this module, and must start without pg8000: do not import pg8000 here.
"""

from typing import Any, NamedTuple

from progress.operations.export_files import FileFormat, StatisticsTable

MAX_BYTES = 1 << 30  # the database sends at most this much for one export

# Measured by `python -m bench export statistics` while other work slowed the machine to a quarter
# of its speed.
_USER_BYTES_PER_S = 3_000_000
_ROWS_PER_S = {FileFormat.CSV: 30_000, FileFormat.PARQUET: 20_000}
_EVENT_BYTES = 170  # the size of an exported event, without its data and metadata
_ROW_BYTES = {
    StatisticsTable.DAILY: 100,
    StatisticsTable.WEEKLY: 110,
    StatisticsTable.DOMAIN: 90,
    StatisticsTable.LEVEL: 90,
    StatisticsTable.ITEM: 250,
}


class Estimate(NamedTuple):
    """The seconds that the export takes, and the bytes that the database sends for it."""

    seconds: float
    bytes: int


def estimate_user(events: int, event_bytes: int) -> Estimate:
    """Estimate the export of a learner's events.

    `event_bytes` is the mean size of an event's data and metadata.
    """
    size = events * (_EVENT_BYTES + event_bytes)
    return Estimate(size / _USER_BYTES_PER_S, size)


def estimate_statistics(table: StatisticsTable, format_: FileFormat, rows: int) -> Estimate:
    """Estimate the export of this number of rows."""
    return Estimate(rows / _ROWS_PER_S[format_], rows * _ROW_BYTES[table])


def read_rows(plan: Any) -> int:
    """Return the planner's estimated number of rows from the output of EXPLAIN (FORMAT JSON)."""
    return int(plan[0]["Plan"]["Plan Rows"])
