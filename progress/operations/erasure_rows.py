"""The rows about a learner in the database: ERASE_USER counts, empties and deletes them.

Each call can be repeated. Long work is done in chunks: each is one transaction, and takes about a
quarter of a second. The callbacks `check` and `report` are called between two chunks, and raise an
error if the work must stop.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import fill
from progress.archive import erasure_ledger
from progress.projections import schema

Check = Callable[[], None]

CHUNK = 5_000  # the maximum number of rows that one transaction changes

_FILE, _INTERFACE = "operations/erasure_rows", "projections/interface"
_LETTERS = 1_000  # Maximum dead letters per statement; low, because a payload may exceed 1 MiB.
_READ = 20_000  # Maximum number of sessions or events per statement.
_BEFORE_UNDECLARED = ("other-", 0)  # Sorts before all streams of undeclared events.
_TARGET_S = 0.25  # The time that a chunk should take.
_FIRST_SHARE = 10  # The first chunk has a tenth of the largest size.
_MOST_GROWTH = 2.0  # A chunk is at most twice as large as the chunk before it.


def forbid_learner(
    connection: Connection, learner: str, operation_id: UUID
) -> erasure_ledger.Entry:
    """Record the learner's deletion; from now on, appends drop the learner's events."""
    values = {"learner": learner, "operation_id": operation_id}
    digest, erased_at = database.run(connection, _FILE, "forbid learner", **values)[0]
    return erasure_ledger.Entry(digest, str(operation_id), erased_at)


def is_withdrawn(
    connection: Connection, learner: str, announcement: str, operation_id: UUID
) -> bool:
    """Return whether the erasure must not begin; until the transaction ends, nothing is recorded.

    An erasure that has begun, or that somebody has requested, too, is not withdrawn.
    """
    database.run(connection, "recovery/dumps", "hold appends")
    values = {"learner": learner, "announcement": announcement, "operation_id": operation_id}
    withdrawn: bool = database.run(connection, _FILE, "is withdrawn", **values)[0][0]
    return withdrawn


def read_key(connection: Connection) -> erasure_ledger.Key:
    """Return the secret key with which this log hashes learners' ids to digests."""
    return erasure_ledger.Key(*database.run(connection, _FILE, "read key")[0])


def find_receipt(connection: Connection, operation_id: UUID) -> dict[str, Any] | None:
    """Return the receipt of this erasure, or of another one of the same learner."""
    rows = database.run(connection, _FILE, "find receipt", operation_id=operation_id)
    return rows[0][0] if rows else None


def count_of_learner(connection: Connection, learner: str, operation_id: UUID) -> dict[str, int]:
    """Return the number of rows to erase in each place; `count_further` counts the other rows."""
    values = {"learner": learner, "operation_id": operation_id}
    return database.fetch(connection, _FILE, "count of learner", **values)[0]


def count_further(
    connection: Connection,
    learner: str,
    counts: Mapping[str, int],
    check: Check,
    *,
    undecodable: bool = True,
) -> dict[str, int]:
    """Read every undeclared event; add those to erase, and the dead letters, to `counts`.

    Also count others' entries in the learner's bundles and, with `undecodable`, the letters that
    nobody can decode, even if they name the learner, apart.
    """
    events = sum(_page_undeclared(connection, learner, "count undeclared", check))
    values = {"learner": learner, "with_undecodable": undecodable}
    letters = database.fetch(connection, _FILE, "count letters", **values)[0]
    return {**counts, **letters, "events": counts["events"] + events}


def count_read_models(connection: Connection, learner: str, check: Check) -> dict[str, int]:
    """Return the number of the learner's rows in each table of each schema of read models."""
    counts: dict[str, int] = {}
    for name in list_schemas(connection):
        schema.set_search_path(connection, name)
        for (table,) in database.run(connection, _FILE, "list tables of learners"):
            check()
            sql = fill(_FILE, "count rows", table=table)
            counts[table] = connection.run(sql, learner=learner)[0][0]
    return counts


def count_mentions(connection: Connection, learner: str, check: Check) -> int:
    """Return the number of events of others that name the learner."""
    return sum(_page(connection, "count mentions", _READ, learner, check))


def fold_deletion(connection: Connection, learner: str) -> list[str]:
    """Delete the learner from every schema of read models; skip and return the busy schemas.

    A schema is busy while a rebuild folds the learner's shard into it.
    """
    return [name for name in list_schemas(connection) if not _fold(connection, name, learner)]


def list_schemas(connection: Connection) -> list[str]:
    """Return the names of all schemas of read models, including those of other revisions."""
    return [name for (name,) in database.run(connection, _FILE, "list schemas")]


def _fold(connection: Connection, name: str, learner: str) -> bool:
    with database.transaction(connection):
        schema.set_search_path(connection, name)
        if not name.endswith("_building"):
            database.run(connection, _FILE, "lock shard", learner=learner)
        elif not database.run(connection, _FILE, "try to lock shard", learner=learner)[0][0]:
            return False
        if schema.exists(connection, name):
            database.run(connection, _INTERFACE, "fold deletion", learner=learner)
    return True


def seconds_since(connection: Connection, moment: str) -> float:
    """Return the seconds since a moment on the database's clock."""
    seconds: float = database.run(connection, _FILE, "seconds since", moment=moment)[0][0]
    return seconds


def find_unpublished(connection: Connection, learner: str) -> tuple[int, int] | None:
    """Return the learner's shard and the number of deletions that the publisher is not past.

    Return None if it is past all of them.
    """
    rows = database.run(connection, _FILE, "unpublished", learner=learner)
    return (rows[0][0], rows[0][1]) if rows else None


def redact_events(
    connection: Connection,
    learner: str,
    report: Callable[[int], None],
    *,
    with_deletions: bool = False,
) -> None:
    """Empty the learner's events, newest first; report the number of events in each chunk.

    Then empty the undeclared events that name a session of the learner, but no learner.
    """
    chunks, redacted = Chunks(CHUNK, lambda: report(0)), 1
    while redacted:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most, "with_deletions": with_deletions}
            redacted = database.run(connection, _FILE, "redact events", **values)[0][0]
        report(redacted)
    for redacted in _page_undeclared(connection, learner, "redact undeclared", lambda: report(0)):
        report(redacted)


def _page_undeclared(
    connection: Connection, learner: str, block: str, check: Check
) -> Iterator[int]:
    """Run the SQL block on each chunk of undeclared events; yield the number of events found."""
    chunks = Chunks(CHUNK, check)
    stream: str | None
    stream, version = _BEFORE_UNDECLARED
    while stream is not None:
        with chunks.next() as at_most:
            values = {
                "learner": learner, "after_stream": stream, "after_version": version,
                "at_most": at_most,
            }  # fmt: skip
            found, stream, version = database.run(connection, _FILE, block, **values)[0]
        yield found


def redact_rest(connection: Connection, learner: str, check: Check) -> None:
    """Delete the learner's snapshots, milestone marks, announcement and pending events.

    Redact the finished operations that name the learner.
    """
    _repeat(connection, "delete snapshots", learner, check)
    database.run(connection, _FILE, "delete milestone marks", learner=learner)
    database.run(connection, _FILE, "delete announcement", learner=learner)
    database.run(connection, _FILE, "delete pending", learner=learner)
    database.run(connection, _FILE, "redact operations", learner=learner, own=None)


def redact_accesses(connection: Connection, learner: str, check: Check) -> None:
    """Delete the traces of who read the learner's record; name the learner nowhere as a reader.

    Call this after `forbid_learner`, which keeps the learner out of new traces.
    """
    _repeat(connection, "redact accesses", learner, check)


def _repeat(connection: Connection, block: str, learner: str, check: Check) -> None:
    """Run the SQL block, which changes up to :at_most rows, until it changes none."""
    chunks, changed = Chunks(CHUNK, check), 1
    while changed:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most}
            changed = database.run(connection, _FILE, block, **values)[0][0]


def redact_letters(
    connection: Connection, learner: str | None, check: Check, *, undecodable: bool = True
) -> None:
    """Redact the learner's dead letters or, if `learner` is None, those of all erased learners.

    With `undecodable`, empty those that nobody can decode, whoever sent them.
    """
    options = {"with_undecodable": undecodable}
    deque(_page(connection, "redact letters", _LETTERS, learner, check, **options), maxlen=0)


def _page(
    connection: Connection,
    block: str,
    largest: int,
    learner: str | None,
    check: Check,
    **options: object,
) -> Iterator[Any]:
    """Run the SQL block on each chunk of a table; yield what it counts.

    The block reads up to :at_most rows whose numbers follow :after, and returns the last number.
    """
    chunks = Chunks(largest, check)
    reached: int | None = 0
    while reached is not None:
        with chunks.next() as at_most:
            values = {"learner": learner, "after": reached, "at_most": at_most}
            found, reached = database.run(connection, _FILE, block, **values, **options)[0]
        yield found


def list_exports(connection: Connection, learner: str, before: object) -> list[UUID]:
    """Return the exports that may hold the learner's rows, oldest first.

    Return only exports that were requested before the time `before` on the database's clock.
    `before` is a datetime or its text.
    """
    values = {"learner": learner, "before": before}
    return [export_id for (export_id,) in database.run(connection, _FILE, "list exports", **values)]


def try_end_export(
    connection: Connection, export_id: UUID, remove_file: Callable[[], None]
) -> bool:
    """End an export and remove its file; return True.

    If a worker is running the export, mark the export as cancelled instead; return False.
    """
    values = {"operation_id": export_id}
    if not database.run(connection, "operations/operations", "lock operation", **values)[0][0]:
        database.run(connection, _FILE, "cancel export", **values)
        return False
    try:
        database.run(connection, _FILE, "end export", **values)
        database.run(connection, _FILE, "forget file", **values)
        remove_file()
    finally:
        database.run(connection, _FILE, "unlock operation", **values)
    return True


def hide_sessions(connection: Connection, learner: str, check: Check) -> None:
    """Replace the ids of the learner's sessions by digests."""
    chunks = Chunks(_READ, check)
    reached: str | None = ""
    while reached is not None:
        with chunks.next() as at_most:
            values = {"learner": learner, "after": reached, "at_most": at_most}
            reached = database.run(connection, _FILE, "hide sessions", **values)[0][0]


def delete_marks(connection: Connection, learner: str) -> None:
    """Delete the learner from `deleted_learners` in every schema of read models.

    The caller holds the rebuild lock. Folds, batch runs and snapshots that read the learner's rows
    before the deletion may still write these rows again. This function waits for them by taking
    their locks.
    """
    for name in list_schemas(connection):
        with database.transaction(connection):
            schema.set_search_path(connection, name)
            for block in ("lock batch", "lock shard", "lock snapshots"):
                database.run(connection, _FILE, block, learner=learner)
            if database.run(connection, _FILE, "has interface")[0][0]:
                database.run(connection, _INTERFACE, "delete learner", learner=learner)
            else:
                database.run(connection, _FILE, "delete learner of earlier", learner=learner)


def keep_receipt(connection: Connection, learner: str, operation_id: UUID, receipt: object) -> None:
    """Store the receipt, and remove the learner's id from the operation that erases the learner."""
    text = msgspec.json.encode(receipt).decode()
    with database.transaction(connection):
        database.run(connection, _FILE, "keep receipt", operation_id=operation_id, receipt=text)
        database.run(connection, _FILE, "redact operations", learner=learner, own=operation_id)


def analyze(connection: Connection, check: Check) -> None:
    """Run ANALYZE, because the planner's old statistics hold values from the learner's rows."""
    for table_id, columns in database.run(connection, _FILE, "list columns of the log"):
        check()
        database.run(connection, _FILE, "analyze", table_id=table_id, columns=columns)
    for name in list_schemas(connection):
        schema.set_search_path(connection, name)
        for (table,) in database.run(connection, _FILE, "list tables of learners"):
            check()
            connection.run(fill(_FILE, "analyze rows", table=table))


def read_time(connection: Connection) -> datetime:
    """Return the time on the database's clock."""
    now: datetime = database.run(connection, _FILE, "read time")[0][0]
    return now


class Chunks:
    """The size of the next chunk, adapted to the time that the last one took.

    `check` is called before each chunk; it raises an error if the work must stop.
    """

    def __init__(self, largest: int, check: Check) -> None:
        self._largest, self._check = largest, check
        self._size = max(1, largest // _FIRST_SHARE)

    @contextlib.contextmanager
    def next(self) -> Iterator[int]:
        """Yield the size of the next chunk, and measure how long the `with` block takes."""
        self._check()
        begin = time.monotonic()
        yield self._size
        self._size = adapt_size(self._size, time.monotonic() - begin, self._largest)


def adapt_size(size: int, seconds: float, largest: int) -> int:
    growth = min(_MOST_GROWTH, _TARGET_S / max(seconds, 1e-3))
    return max(1, min(largest, int(size * growth)))
