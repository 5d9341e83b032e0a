"""The erasure of a learner: what each step changes. A repeated call of a function is harmless."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.operations import erasure_ledger
from progress.projections import schema
from progress.projections.notifications import Change, Publisher

CHUNK = 5_000  # rows that one transaction changes, so that it takes at most a second

_FILE = "operations/erase_user"
_FIRST_LETTER = 0
_LETTERS = 1_000  # dead letters that one statement reads, because a payload may have 1 MiB


class Forbidden(NamedTuple):
    """The digest of the learner's id in hexadecimal digits, and the time of the erasure."""

    digest: str
    erased_at: datetime


class Match(NamedTuple):
    """A table that still contains the learner's id; `is_other`: in rows about somebody else."""

    place: str
    is_other: bool
    rows: int


def forbid(connection: Connection, learner: str, operation_id: UUID) -> Forbidden:
    """Record the learner's deletion; from now on, the append drops the learner's events."""
    return Forbidden(*_run(connection, "forbid", learner=learner, operation_id=operation_id)[0])


def read_key(connection: Connection) -> erasure_ledger.Key:
    """Return the key of this log's digests."""
    return erasure_ledger.Key(*_run(connection, "key")[0])


def count(connection: Connection, learner: str, operation_id: UUID) -> dict[str, int]:
    """Return the number of rows to erase, by place."""
    row = _run(connection, "count", learner=learner, operation_id=operation_id)[0]
    names = [column["name"] for column in connection.columns or []]
    letters = sum(len(ids) for ids in _list_letters(connection, learner))
    return {**dict(zip(names, row, strict=True)), "dead_letters": letters}


def fold_deletion(connection: Connection, learner: str, publisher: Publisher) -> list[str]:
    """Delete the learner from every schema of read models; return the schemas that are busy.

    A schema is busy while a rebuild folds the learner's shard in it.
    """
    return [
        name for name in list_schemas(connection) if not _fold(connection, name, learner, publisher)
    ]


def list_schemas(connection: Connection) -> list[str]:
    """Return the schemas of read models of any version of the code."""
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
    """Empty the learner's events, newest first; after each chunk, report its number of events."""
    values = {"learner": learner, "at_most": CHUNK, "with_deletions": with_deletions}
    while redacted := _run(connection, "redact events", **values)[0][0]:
        report(redacted)


def redact_rest(connection: Connection, learner: str, operation_id: UUID) -> None:
    """Delete the learner's snapshots and pending events; redact dead letters and operations."""
    _run(connection, "delete snapshots", learner=learner)
    _run(connection, "delete pending", learner=learner)
    for letter_ids in _list_letters(connection, learner):
        _run(connection, "redact letters", letter_ids=letter_ids)
    _run(connection, "redact operations", learner=learner, except_for=operation_id)


def _list_letters(connection: Connection, learner: str) -> Any:
    """Yield the ids of the dead letters about the learner, in lists."""
    reached = _FIRST_LETTER
    while reached is not None:
        values = {"learner": learner, "after": reached, "at_most": _LETTERS}
        letter_ids, reached = _run(connection, "letters", **values)[0]
        if letter_ids:
            yield letter_ids


def list_exports(connection: Connection, learner: str, before: object) -> list[UUID]:
    """Return the exports that may hold the learner's rows: requested before a time, oldest first.

    `before` is a moment of the database's time, also as text.
    """
    return [row[0] for row in _run(connection, "exports", learner=learner, before=before)]


def try_end_export(
    connection: Connection, export_id: UUID, remove_file: Callable[[], None]
) -> bool:
    """End an export and remove its file; if a worker runs it, only cancel it and return False."""
    lock = blocks("operations/operations")["lock operation"]
    if not connection.run(lock, operation_id=export_id)[0][0]:
        _run(connection, "cancel export", operation_id=export_id)
        return False
    try:
        _run(connection, "end export", operation_id=export_id)
        remove_file()
    finally:
        _run(connection, "unlock operation", operation_id=export_id)
    return True


def hide_sessions(connection: Connection, learner: str) -> None:
    """Replace the ids of the learner's sessions by digests."""
    while _run(connection, "hide sessions", learner=learner, at_most=CHUNK)[0][0]:
        pass


def delete_marks(connection: Connection, learner: str) -> None:
    """Delete the learner from `deleted_learners` in every schema of read models.

    The caller holds the rebuild lock. The locks taken here wait for folds, batch runs and snapshots
    that may have read the learner's rows before they were deleted, and may write them again.
    """
    for name in list_schemas(connection):
        with database.transaction(connection):
            schema.set_search_path(connection, name)
            for block in ("lock batch", "lock shard", "lock snapshots", "delete learner"):
                _run(connection, block, learner=learner)
            _run(connection, "delete mark", learner=learner)


def analyze(connection: Connection) -> None:
    """Renew the planner's statistics, which hold values from the learner's rows."""
    _run(connection, "analyze log")
    for name in list_schemas(connection):
        schema.set_search_path(connection, name)
        for (table,) in _run(connection, "list tables of learners"):
            connection.run(f"ANALYZE {table}")


def search(connection: Connection, learner: str, operation_id: UUID) -> list[Match]:
    """Return the tables in which the learner's id is found."""
    rows = _run(connection, "search", learner=learner, operation_id=operation_id)
    return [Match(*row) for row in rows]


def keep_receipt(connection: Connection, learner: str, operation_id: UUID, receipt: object) -> None:
    """Keep the receipt, and remove the learner's id from the operation that erases the learner."""
    text = msgspec.json.encode(receipt).decode()
    with database.transaction(connection):
        _run(connection, "keep receipt", operation_id=operation_id, receipt=text)
        _run(connection, "redact operations", learner=learner, except_for=None)


def read_receipt(connection: Connection, operation_id: UUID) -> object:
    """Return the receipt that `keep_receipt` kept."""
    return _run(connection, "kept receipt", operation_id=operation_id)[0][0]


def read_time(connection: Connection) -> datetime:
    """Return the database's time."""
    now: datetime = _run(connection, "now")[0][0]
    return now


def read_age_s(connection: Connection, moment: str) -> float:
    """Return the seconds since a moment of the database's time."""
    seconds: float = _run(connection, "seconds since", moment=moment)[0][0]
    return seconds


def _run(connection: Connection, block: str, **values: object) -> list[list[Any]]:
    return connection.run(blocks(_FILE)[block], **values) or []
