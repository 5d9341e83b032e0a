"""Database functions for the steps that erase a learner. Each call can safely be repeated.

The functions call the argument `check` before each chunk of rows, and the argument `report` before
and after each chunk. Both callbacks raise an error if the step must stop.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
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
_LETTERS = 1_000  # Maximum dead letters per statement; low, because a payload may exceed 1 MiB.
_READ = 20_000  # Maximum number of sessions or events per statement.
_BEFORE_UNDECLARED = ("other-", 0)  # Sorts before all streams of undeclared events.


class Forbidden(NamedTuple):
    """The hexadecimal digest of the learner's id, and the time of the erasure.

    If the id contains a separator of tokens (see sql/event_store/functions/tokens.sql),
    `tokens_digest` is the digest of its tokens, and `token_count` is their number.
    """

    digest: str
    erased_at: datetime
    token_count: int
    tokens_digest: str | None


def forbid(connection: Connection, learner: str, operation_id: UUID) -> Forbidden:
    """Record the learner's deletion; from now on, appends drop the learner's events."""
    return Forbidden(*_run(connection, "forbid", learner=learner, operation_id=operation_id)[0])


def read_key(connection: Connection) -> erasure_ledger.Key:
    """Return the secret key with which this log hashes learners' ids to digests."""
    return erasure_ledger.Key(*_run(connection, "key")[0])


def count(connection: Connection, learner: str, operation_id: UUID) -> dict[str, int]:
    """Return the number of rows to erase in each place; `count_further` counts the other rows."""
    row = _run(connection, "count", learner=learner, operation_id=operation_id)[0]
    names = [column["name"] for column in connection.columns or []]
    return dict(zip(names, row, strict=True))


def count_further(
    connection: Connection, learner: str, counts: Mapping[str, int], check: Check
) -> dict[str, int]:
    """Read every undeclared event and every dead letter; add those to erase to `counts`."""
    undeclared = sum(_page_undeclared(connection, learner, "count undeclared", check))
    letters = sum(_page(connection, "count letters", _LETTERS, learner, check))
    return {**counts, "events": counts["events"] + undeclared, "dead_letters": letters}


def count_read_models(connection: Connection, learner: str, check: Check) -> dict[str, int]:
    """Return the number of the learner's rows in each table of each schema of read models."""
    counts: dict[str, int] = {}
    for name in list_schemas(connection):
        schema.set_search_path(connection, name)
        for (table,) in _run(connection, "list tables of learners"):
            check()
            sql = f"SELECT count(*) FROM {table} WHERE user_id = :learner"  # noqa: S608 - from SQL
            counts[table] = connection.run(sql, learner=learner)[0][0]
    return counts


def count_mentions(connection: Connection, learner: str, check: Check) -> int:
    """Read the log; return how many events of other learners mention the learner."""
    return sum(_page(connection, "count mentions", _READ, learner, check))


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


def redact_rest(connection: Connection, learner: str, check: Check) -> None:
    """Delete the learner's snapshots and pending events.

    Redact the learner's dead letters, and the finished operations that name the learner.
    """
    chunks, deleted = Chunks(CHUNK, check), 1
    while deleted:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most}
            deleted = _run(connection, "delete snapshots", **values)[0][0]
    _run(connection, "delete pending", learner=learner)
    deque(_page(connection, "redact letters", _LETTERS, learner, check), maxlen=0)
    _run(connection, "redact operations", learner=learner, own=None)


def redact_letters(connection: Connection, check: Check) -> None:
    """Redact the dead letters of all erased learners."""
    deque(_page(connection, "redact letters", _LETTERS, None, check), maxlen=0)


def _page(
    connection: Connection, block: str, largest: int, learner: str | None, check: Check
) -> Iterator[int]:
    """Run the SQL block on each chunk of a table; yield the number of rows that it counts.

    The block reads up to :at_most rows whose numbers follow :after, and returns the last number.
    """
    chunks = Chunks(largest, check)
    reached: int | None = 0
    while reached is not None:
        with chunks.next() as at_most:
            values = {"learner": learner, "after": reached, "at_most": at_most}
            found, reached = _run(connection, block, **values)[0]
        yield found


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


def keep_receipt(connection: Connection, learner: str, operation_id: UUID, receipt: object) -> None:
    """Store the receipt, and remove the learner's id from the operation that erases the learner."""
    text = msgspec.json.encode(receipt).decode()
    with database.transaction(connection):
        _run(connection, "keep receipt", operation_id=operation_id, receipt=text)
        _run(connection, "redact operations", learner=learner, own=operation_id)


def find_receipt(connection: Connection, operation_id: UUID) -> object:
    """Return the receipt of the learner whose id was removed from this operation.

    `keep_receipt` has stored it, in this operation or in another erasure of the learner. Return
    None if there is no receipt.
    """
    rows = _run(connection, "find receipt", operation_id=operation_id)
    return rows[0][0] if rows else None


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
