"""Queries on the log for the archive: rows, sums, and the last position that may be archived."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Output
from progress.archive.files import OTHERS, Sums
from progress.errors import ArchiveRunning, ProgressError
from progress.projections import live, schema

ERASED = -2  # the number under which the erased rows of all buckets are summed up

_FILE = "archive/log"


class Positions(NamedTuple):
    """A range of positions that includes `first` and `last`."""

    first: int
    last: int


@contextlib.contextmanager
def hold_lock(connection: Connection) -> Iterator[None]:
    """Hold the archive's lock during the block; raise ArchiveRunning if another run holds it."""
    if not database.run(connection, _FILE, "lock")[0][0]:
        raise ArchiveRunning("another run works on the archive: wait until it ends")
    with database.release_after(connection, _FILE, "lock"):
        yield


def find_bound(connection: Connection, before: datetime | None = None) -> int:
    """Return the last position that may be archived; 0 if there is none.

    All events up to this position are folded into the served read models. If `before` is given, all
    of them were also recorded before that time.
    """
    found = live.find(connection)
    if not found.schemas:
        raise ProgressError("there are no read models: run `progress migrate`")
    schema.set_search_path(connection, found.first)
    bound: int = database.run(connection, _FILE, "bound", before=before)[0][0]
    return bound


def is_old(connection: Connection, position: int, days: int) -> bool:
    """Return whether the event at this position was recorded more than `days` days ago."""
    rows = database.run(connection, _FILE, "is old", position=position, days=days)
    return bool(rows and rows[0][0])


@contextlib.contextmanager
def open_snapshot(connection: Connection) -> Iterator[None]:
    """Let all functions below see the same rows during the block."""
    with database.transaction(connection):
        database.run(connection, _FILE, "begin snapshot")
        yield


def copy(connection: Connection, positions: Positions, buckets: int, output: Output) -> None:
    """Write the rows of a range to `output` as CSV; `output.write` is called once for each row."""
    _run(connection, "rows", positions, buckets, stream=output)


def copy_erased(connection: Connection, positions: Sequence[int], output: Output) -> None:
    """Write the rows at these positions to `output` as CSV."""
    database.run(connection, _FILE, "select positions", positions=list(positions))
    chosen = statements.fill(_FILE, "rows", chosen="{archive/log positions}")
    connection.run(chosen, stream=output)


def sum_rows(connection: Connection, positions: Positions, buckets: int) -> dict[int | None, Sums]:
    """Return, for each bucket, the number and the checksums of the rows that `copy` writes.

    The key None stands for the streams that belong to no learner, and ERASED for the erased rows.
    """
    return {
        None if bucket == OTHERS else bucket: Sums(count, int(s1), int(s2))
        for bucket, count, s1, s2 in _run(connection, "sums", positions, buckets)
    }


def list_erased(connection: Connection, positions: Positions) -> list[int]:
    """Return the positions of the range's erased rows."""
    return [row[0] for row in _run(connection, "erased positions", positions, 1)]


def list_emptied_others(connection: Connection) -> list[int]:
    """Return, in order, the positions of emptied events in streams that belong to no learner."""
    return [row[0] for row in database.run(connection, _FILE, "emptied others")]


def recorded_times(connection: Connection, positions: Sequence[int]) -> dict[int, datetime]:
    """Return the times at which the events at these positions were recorded."""
    return dict(database.run(connection, _FILE, "recorded times", positions=list(positions)))


def bucket_of(connection: Connection, stream_id: str, buckets: int) -> int:
    rows = database.run(connection, _FILE, "bucket of stream", stream_id=stream_id, buckets=buckets)
    bucket: int = rows[0][0]
    return bucket


def _run(
    connection: Connection, block: str, positions: Positions, buckets: int, **stream: Output
) -> list[list[Any]]:
    values = {"first": str(positions.first), "last": str(positions.last), "buckets": str(buckets)}
    database.run(connection, _FILE, "select range", **values)
    chosen = statements.fill(_FILE, block, chosen="{archive/log range}")
    return connection.run(chosen, **stream) or []
