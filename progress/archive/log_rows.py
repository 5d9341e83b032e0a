"""Queries on the log for the archive: rows, sums, and the last position that may be archived."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Output
from progress.archive.files import Sums
from progress.errors import ArchiveRunning, ProgressError
from progress.projections import live, schema

_FILE = "archive/log"


class Log(msgspec.Struct, frozen=True):
    """The log that the archive copies; the id and the time are those of the event at position 1."""

    id: str
    recorded_at: datetime


class Checkpoint(msgspec.Struct, frozen=True):
    """The last archived event of a shard."""

    shard: int
    position: int
    event_id: str
    recorded_at: datetime


class ErasedRow(msgspec.Struct, frozen=True, array_like=True):
    """An event of an erased learner, which is in none of the range's files.

    The id and the version are None if the event was not yet emptied when the range was written,
    because a learner's event gets a new id and a new version when it is emptied. The stream is
    given only for an emptied event that stayed in its own stream. All other emptied events are in
    their shard's stream of erased events.
    """

    position: int
    shard: int
    recorded_at: datetime
    event_id: str | None
    stream_version: int | None
    stream_id: str | None = None


class Positions(NamedTuple):
    """A range of positions that includes `first` and `last`."""

    first: int
    last: int


@contextlib.contextmanager
def hold_lock(connection: Connection) -> Iterator[None]:
    """Hold the archive's lock during the block; raise ArchiveRunning if another run holds it."""
    if not database.run(connection, _FILE, "lock")[0][0]:
        raise ArchiveRunning("another run works on the archive: wait until it ends")
    try:
        yield
    finally:
        # If the connection is broken, PostgreSQL has already released the lock.
        with contextlib.suppress(*database.ERRORS):
            database.run(connection, _FILE, "unlock")


def identify(connection: Connection) -> tuple[Log, bool] | None:
    """Return the log's identity and whether its first event was emptied; None for an empty log."""
    rows = database.run(connection, _FILE, "identity")
    return (Log(*rows[0][:2]), rows[0][2]) if rows else None


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


def find_end(connection: Connection) -> int:
    """Return the last position of the log; 0 if it is empty."""
    end: int = database.run(connection, _FILE, "end")[0][0]
    return end


def is_old(connection: Connection, position: int, days: int) -> bool:
    """Return whether the event at this position was recorded more than `days` days ago."""
    rows = database.run(connection, _FILE, "is old", position=position, days=days)
    return bool(rows and rows[0][0])


def copy(connection: Connection, positions: Positions, buckets: int, output: Output) -> None:
    """Write the range's rows to `output` as CSV; leave out the events of erased learners.

    `output.write` is called once for each row.
    """
    _select(connection, positions, buckets)
    database.run(connection, _FILE, "rows", stream=output)


def sum_rows(connection: Connection, positions: Positions, buckets: int) -> dict[int | None, Sums]:
    """Return, for each bucket, the number and the checksums of the rows that `copy` writes.

    The key None stands for the streams that belong to no learner.
    """
    _select(connection, positions, buckets)
    return {
        bucket: Sums(count, int(s1), int(s2))
        for bucket, count, s1, s2 in database.run(connection, _FILE, "sums")
    }


def list_erased(connection: Connection, positions: Positions) -> list[ErasedRow]:
    """Return the range's rows that belong in no file, because their learner is erased."""
    _select(connection, positions, 1)
    return [ErasedRow(*row) for row in database.run(connection, _FILE, "erased rows")]


def describe_removed(connection: Connection, positions: Sequence[int]) -> list[ErasedRow]:
    """Return the log's rows at these positions; the archive's files no longer hold these rows."""
    rows = database.run(connection, _FILE, "removed rows", positions=list(positions))
    return [ErasedRow(*row) for row in rows]


def list_emptied_others(connection: Connection) -> list[int]:
    """Return, in order, the positions of emptied events in streams that belong to no learner."""
    return [row[0] for row in database.run(connection, _FILE, "emptied others")]


def recorded_times(connection: Connection, positions: Sequence[int]) -> dict[int, datetime]:
    """Return the times at which the events at these positions were recorded."""
    return dict(database.run(connection, _FILE, "recorded times", positions=list(positions)))


def read_checkpoints(connection: Connection, upto: int) -> list[Checkpoint]:
    """Return each shard's last archived event at or before the position `upto`."""
    return [Checkpoint(*row) for row in database.run(connection, _FILE, "checkpoints", upto=upto)]


def are_changed(connection: Connection, checkpoints: Sequence[Checkpoint]) -> bool:
    """Return whether the log lacks a checkpoint's event, or has another event at its position."""
    times = recorded_times(connection, [one.position for one in checkpoints])
    return any(times.get(one.position) != one.recorded_at for one in checkpoints)


def bucket_of(connection: Connection, stream_id: str, buckets: int) -> int:
    rows = database.run(connection, _FILE, "bucket of stream", stream_id=stream_id, buckets=buckets)
    bucket: int = rows[0][0]
    return bucket


def _select(connection: Connection, positions: Positions, buckets: int) -> None:
    database.run(
        connection,
        _FILE,
        "select range",
        first=str(positions.first),
        last=str(positions.last),
        buckets=str(buckets),
    )
