"""Database functions for the steps that erase a learner. Each call can safely be repeated.

The functions call the argument `check` before each chunk of rows, and the argument `report` before
and after each chunk. Both callbacks raise an error if the step must stop.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.operations import erasure_ledger
from progress.operations.chunks import Check, Chunks
from progress.projections import schema
from progress.projections.notifications import Change, Publisher

CHUNK = 5_000  # the maximum number of rows that one transaction changes

_FILE = "operations/erase_user"
_FIRST_LETTER = 0
_LETTERS = 1_000  # Maximum dead letters per statement; low, because a payload may exceed 1 MiB.
_READ = 20_000  # Maximum number of sessions per statement.
_BLOCKS = 400  # Maximum number of table blocks per statement; 400 blocks are 3 MB.
_BEFORE_UNDECLARED = ("other-", 0)  # Sorts before all streams of undeclared events.


class Forbidden(NamedTuple):
    """The hexadecimal digest of the learner's id, and the time of the erasure."""

    digest: str
    erased_at: datetime


class Mentions(NamedTuple):
    """The numbers of undeclared events and of dead letters that the erasure empties."""

    undeclared: int
    dead_letters: int


class Match(NamedTuple):
    """The number of a table's rows that still contain the learner's id.

    `is_other` is true if the rows are events of other streams than the learner's. An erasure does
    not change such events.
    """

    place: str
    is_other: bool
    rows: int


def forbid(connection: Connection, learner: str, operation_id: UUID) -> Forbidden:
    """Record the learner's deletion; from now on, appends drop the learner's events."""
    return Forbidden(*_run(connection, "forbid", learner=learner, operation_id=operation_id)[0])


def read_key(connection: Connection) -> erasure_ledger.Key:
    """Return the secret key with which this log hashes learners' ids to digests."""
    return erasure_ledger.Key(*_run(connection, "key")[0])


def count(connection: Connection, learner: str, operation_id: UUID) -> dict[str, int]:
    """Return the number of rows to erase in each place; `count_mentions` counts further rows."""
    row = _run(connection, "count", learner=learner, operation_id=operation_id)[0]
    names = [column["name"] for column in connection.columns or []]
    return dict(zip(names, row, strict=True))


def count_mentions(connection: Connection, learner: str, check: Check) -> Mentions:
    """Read every undeclared event and every dead letter; count those to erase."""
    return Mentions(
        undeclared=sum(_page_undeclared(connection, learner, "count undeclared", check)),
        dead_letters=sum(len(ids) for ids in _list_letters(connection, learner, check)),
    )


def fold_deletion(connection: Connection, learner: str, publisher: Publisher) -> list[str]:
    """Delete the learner from every schema of read models; skip and return the busy schemas.

    A schema is busy while a rebuild folds the learner's shard into it.
    """
    return [
        name for name in list_schemas(connection) if not _fold(connection, name, learner, publisher)
    ]


def list_schemas(connection: Connection) -> list[str]:
    """Return the names of all schemas of read models, including those of other revisions."""
    return [name for (name,) in _run(connection, "schemas")]


def _fold(connection: Connection, name: str, learner: str, publisher: Publisher) -> bool:
    is_built = not name.endswith("_building")
    change = Change(None, None, catalogue=None)
    with database.transaction(connection):
        schema.set_search_path(connection, name)
        if is_built:
            _run(connection, "lock shard", learner=learner)
        elif not _run(connection, "try to lock shard", learner=learner)[0][0]:
            return False
        if schema.exists(connection, name):
            version = _run(connection, "fold deletion", learner=learner)[0][0]
            learners = msgspec.json.encode([learner]).decode()
            change = Change(version, learners, catalogue=None)
    if name == schema.schema_name() and publisher.is_enabled:
        publisher.publish(change)
    return True


def redact_events(
    connection: Connection,
    learner: str,
    report: Callable[[int], None],
    *,
    with_deletions: bool = False,
) -> None:
    """Empty the learner's events, newest first; report the number of events in each chunk."""
    chunks, redacted = Chunks(CHUNK, lambda: report(0)), 1
    while redacted:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most, "with_deletions": with_deletions}
            redacted = _run(connection, "redact events", **values)[0][0]
        report(redacted)


def redact_undeclared(connection: Connection, learner: str, report: Callable[[int], None]) -> None:
    """Empty the undeclared events that name a session of the learner, but no learner."""
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
            found, stream, version = _run(connection, block, **values)[0]
        yield found


def redact_rest(connection: Connection, learner: str, operation_id: UUID, check: Check) -> None:
    """Delete the learner's snapshots and pending events.

    Redact the dead letters and the operations that name the learner, except the operation
    `operation_id`, which still needs the learner's id.
    """
    chunks, deleted = Chunks(CHUNK, check), 1
    while deleted:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most}
            deleted = _run(connection, "delete snapshots", **values)[0][0]
    _run(connection, "delete pending", learner=learner)
    for letter_ids in _list_letters(connection, learner, check):
        _run(connection, "redact letters", letter_ids=letter_ids)
    _run(connection, "redact operations", learner=learner, except_for=operation_id)


def _list_letters(connection: Connection, learner: str, check: Check) -> Iterator[list[int]]:
    """Yield the ids of the dead letters about the learner, one list per chunk."""
    chunks = Chunks(_LETTERS, check)
    reached: int | None = _FIRST_LETTER
    while reached is not None:
        with chunks.next() as at_most:
            values = {"learner": learner, "after": reached, "at_most": at_most}
            letter_ids, reached = _run(connection, "letters", **values)[0]
        if letter_ids:
            yield letter_ids


def list_exports(connection: Connection, learner: str, before: object) -> list[UUID]:
    """Return the exports that may hold the learner's rows, oldest first.

    Return only exports that were requested before the time `before` on the database's clock.
    `before` is a datetime or its text.
    """
    return [row[0] for row in _run(connection, "exports", learner=learner, before=before)]


def try_end_export(
    connection: Connection, export_id: UUID, remove_file: Callable[[], None]
) -> bool:
    """End an export and remove its file; return True.

    If a worker is running the export, mark the export as cancelled instead; return False.
    """
    lock = blocks("operations/executor")["lock operation"]
    if not connection.run(lock, operation_id=export_id)[0][0]:
        _run(connection, "cancel export", operation_id=export_id)
        return False
    try:
        _run(connection, "end export", operation_id=export_id)
        remove_file()
    finally:
        _run(connection, "unlock operation", operation_id=export_id)
    return True


def hide_sessions(connection: Connection, learner: str, check: Check) -> None:
    """Replace the ids of the learner's sessions by digests."""
    chunks = Chunks(_READ, check)
    reached: str | None = ""
    while reached is not None:
        with chunks.next() as at_most:
            values = {"learner": learner, "after": reached, "at_most": at_most}
            reached = _run(connection, "hide sessions", **values)[0][0]


def delete_marks(connection: Connection, learner: str) -> None:
    """Delete the learner from `deleted_learners` in every schema of read models.

    The caller holds the rebuild lock. Folds, batch runs and snapshots that read the learner's rows
    before the deletion may still write these rows again. This function waits for them by taking
    their locks.
    """
    for name in list_schemas(connection):
        with database.transaction(connection):
            schema.set_search_path(connection, name)
            for block in ("lock batch", "lock shard", "lock snapshots", "delete learner"):
                _run(connection, block, learner=learner)
            _run(connection, "delete mark", learner=learner)


def analyze(connection: Connection, check: Check) -> None:
    """Run ANALYZE, because the planner's old statistics hold values from the learner's rows."""
    for table_id, columns in _run(connection, "list columns of the log"):
        check()
        _run(connection, "analyze", table_id=table_id, columns=columns)
    for name in list_schemas(connection):
        schema.set_search_path(connection, name)
        for (table,) in _run(connection, "list tables of learners"):
            check()
            connection.run(f"ANALYZE {table}")


def search(connection: Connection, learner: str, operation_id: UUID, check: Check) -> list[Match]:
    """Return the tables in which the learner's id is found."""
    values = {"learner": learner, "operation_id": operation_id}
    matches: list[Match] = []
    for table_id, place, blocks_of_table in _run(connection, "searched tables"):
        found = Counter[bool]()
        chunks, first = Chunks(_BLOCKS, check), 0
        while first < blocks_of_table:
            with chunks.next() as size:
                where = {"table_id": table_id, "first_block": first, "blocks": size}
                for is_other, rows in _run(connection, "search", **values, **where):
                    found[is_other] += rows
                first += size
        matches += [Match(place, is_other, rows) for is_other, rows in found.items()]
    return matches


def keep_receipt(connection: Connection, learner: str, operation_id: UUID, receipt: object) -> None:
    """Store the receipt, and remove the learner's id from the operation that erases the learner."""
    text = msgspec.json.encode(receipt).decode()
    with database.transaction(connection):
        _run(connection, "keep receipt", operation_id=operation_id, receipt=text)
        _run(connection, "redact operations", learner=learner, except_for=None)


def read_receipt(connection: Connection, operation_id: UUID) -> object:
    """Return the receipt that `keep_receipt` stored."""
    return _run(connection, "kept receipt", operation_id=operation_id)[0][0]


def read_time(connection: Connection) -> datetime:
    """Return the time on the database's clock."""
    now: datetime = _run(connection, "now")[0][0]
    return now


def read_age_s(connection: Connection, moment: str) -> float:
    """Return the seconds since `moment`, which is the text of a time on the database's clock."""
    seconds: float = _run(connection, "seconds since", moment=moment)[0][0]
    return seconds


def _run(connection: Connection, block: str, **values: object) -> list[list[Any]]:
    return connection.run(blocks(_FILE)[block], **values) or []
