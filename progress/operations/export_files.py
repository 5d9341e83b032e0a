"""The files that operations export: their storage, names and formats, and estimates of their size.

Requests for exports that are too large are rejected.

An export is one object, named after its operation. The object exists only once it is complete.
Exports are deleted after a week: in the bucket by a lifecycle rule, on this machine by the batch
job.

The query function imports this module, and must start without pg8000: do not import pg8000 here.
"""

import codecs
import time
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from progress.errors import ProgressError
from progress.settings import Settings

LIFETIME = timedelta(days=7)  # the bucket's lifecycle rule has the same age

KINDS = ("EXPORT_USER", "EXPORT_STATISTICS")
# Without a byte order mark, spreadsheet programs do not read a CSV file as UTF-8.
CSV_BEGIN = codecs.BOM_UTF8
MEDIA_TYPES = {  # media types by file suffix
    "zip": "application/zip",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
MAX_BYTES = 1 << 30  # the database sends at most this much for one export


class ExportedFile(msgspec.Struct, frozen=True):
    """The result of an export: the object, and the name under which it is downloaded."""

    object: str
    file: str
    bytes: int
    sha256: str


class StatisticsTable(StrEnum):
    """A read model whose rows EXPORT_STATISTICS can export."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    DOMAIN = "DOMAIN"
    LEVEL = "LEVEL"
    ITEM = "ITEM"

    @property
    def has_days(self) -> bool:
        """Return True if each row of the table has a date: its day, or the Monday of its week."""
        return self in (StatisticsTable.DAILY, StatisticsTable.WEEKLY)


class FileFormat(StrEnum):
    """The format of an exported table."""

    CSV = "CSV"
    PARQUET = "PARQUET"


class StatisticsArguments(msgspec.Struct, frozen=True):
    """The arguments of EXPORT_STATISTICS.

    If `learners` is null, the export includes all learners. If `first_day` is null, no day is too
    early for the export. If `last_day` is null, no day is too late.
    """

    table: StatisticsTable
    format: FileFormat
    learners: list[str] | None
    first_day: date | None
    last_day: date | None


def location(settings: Settings) -> str:
    """Return the location of the exports: the bucket, or a folder on this machine."""
    if settings.exports_bucket:
        return f"gs://{settings.exports_bucket}"
    return f"{settings.progress_data_dir}/exports"


def object_name(operation_id: UUID, suffix: str = "zip") -> str:
    """Return the name of an operation's object; a repeated step reuses the name."""
    return f"{operation_id}.{suffix}"


def delete_old(settings: Settings) -> None:
    """Delete the exported files on this machine that are older than a week.

    In the bucket, a lifecycle rule deletes old files. Raise ProgressError if a file cannot be
    deleted.
    """
    folder = Path(location(settings))
    if settings.exports_bucket or not folder.is_dir():
        return
    oldest = time.time() - LIFETIME.total_seconds()
    try:
        for file in folder.iterdir():
            if file.stat().st_mtime < oldest:
                file.unlink()
    except OSError as error:
        raise ProgressError(
            f"cannot delete the old exports: {error.filename}: {error.strerror}"
        ) from error


# Measured while other work slowed the machine to a quarter of its speed (docs/decisions.md).
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
    return Estimate(rows / _ROWS_PER_S[format_], rows * _ROW_BYTES[table])


def read_rows(plan: Any) -> int:
    """Return the planner's estimated number of rows from the output of EXPLAIN (FORMAT JSON)."""
    return int(plan[0]["Plan"]["Plan Rows"])
