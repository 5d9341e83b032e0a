"""ERASE_USER: the steps that erase a learner, in their order, and the database calls they make.

If a worker dies during a step, another worker repeats the step, so each call can be repeated. Long
work is done in chunks. Each chunk is one transaction, and takes about a quarter of a second. The
callbacks `check` and `report` are called between two chunks, and raise an error if the step must
stop.
"""

import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import fill
from progress.adapters.redis import blocking_client
from progress.archive import erasure, manifests
from progress.errors import OperationEnded, ProgressError
from progress.event_store import publication
from progress.operations import export_files
from progress.operations.claim import ClaimedOperation, connection_for, parse_arguments
from progress.operations.records import OperationState
from progress.projections import projector, replacement, schema
from progress.projections.changes import Change, Publisher
from progress.projections.replacement import Holder

Check = Callable[[], None]
Step = Callable[[ClaimedOperation], object]

CHUNK = 5_000  # the maximum number of rows that one transaction changes

_FILE = "operations/erase_user"
_LETTERS = 1_000  # Maximum dead letters per statement; low, because a payload may exceed 1 MiB.
_READ = 20_000  # Maximum number of sessions or events per statement.
_BEFORE_UNDECLARED = ("other-", 0)  # Sorts before all streams of undeclared events.
_TARGET_S = 0.25  # The time that a chunk should take.
_FIRST_SHARE = 10  # The first chunk has a tenth of the largest size.
_MOST_GROWTH = 2.0  # A chunk is at most twice as large as the chunk before it.
# The wait after the step `forget`. A query that began earlier may still store a response with the
# learner's rows in Redis. The query ends within 10 s. It stores the response only while Redis has a
# copy of the learner's version, and this copy expires after 5 s.
_REQUESTS_END_S = 20.0

# Copies of the learner's data that nobody can change, and the time after which each is gone.
_COPIES = {
    "backups": timedelta(days=7),  # of the database; BACKUP_BUCKET may keep its backups for longer
    "pubsub": timedelta(days=7),
    "pubsub_dead_letters": timedelta(days=31),
}


# What left the system before the deletion; its subscribers got a UserDeleted, too.
_PUBLISHED = "stays with its subscribers"


class EraseArguments(msgspec.Struct, frozen=True):
    """The arguments of ERASE_USER."""

    user_id: str


def _unless_closed(step: Step) -> Step:
    """Return a step that returns the learner's receipt if the learner is erased already.

    An erasure removes the learner's id from the arguments in the transaction that stores the
    receipt. If the id is missing but there is no receipt, the step raises OperationEnded.
    """

    @functools.wraps(step)
    def run(operation: ClaimedOperation) -> object:
        if "user_id" in operation.arguments:
            return step(operation)
        with connection_for(operation) as connection:
            # In this operation, or in another erasure of the learner.
            rows = database.run(connection, _FILE, "find receipt", operation_id=operation.id)
            if not rows:
                raise OperationEnded(
                    OperationState.FAILED,
                    "the learner's id is missing, and there is no receipt: "
                    "run `progress erasures apply`",
                )
            analyze(connection, operation.report_progress)
        return rows[0][0]

    return run


@_unless_closed
def forbid(operation: ClaimedOperation) -> object:
    """Forbid new events of the learner, and write the ledger; return the digest and row counts."""
    learner = _learner(operation)
    with connection_for(operation) as connection:
        archive = manifests.open_archive(settings.current())
        # If the ledger has another key, `write_key` raises an error, and the log must adopt the key
        # of the ledger. A log that has recorded an erasure cannot adopt a key. Therefore, call
        # `write_key` before `forbid_learner`, which records the erasure.
        erasure.write_key(archive, read_key(connection))
        entry = forbid_learner(connection, learner, operation.id)
        erasure.write_entry(archive, entry)
        counts = count_of_learner(connection, learner, operation.id)
        now = read_time(connection)
        counts["exports"] = len(list_exports(connection, learner, now))
    return {"digest": entry.digest, "erased_at": entry.erased_at, "counts": counts}


@_unless_closed
def forget(operation: ClaimedOperation) -> object:
    """Remove the learner from the read models and from Redis; return the complete row counts."""
    learner = _learner(operation)
    with connection_for(operation) as connection:
        fold_deletion(connection, learner, operation.publisher)
        # Fold the event that the first step recorded, because no wake-up was sent for it.
        schema.set_search_path(connection)
        if schema.exists(connection, schema.schema_name()):
            projector.catch_up_learner(connection, learner, operation.publisher, operation.wait)
        _delete_copies(operation, learner)
        forgotten_at = read_time(connection)
        # Not counted in `forbid`: counting many dead letters may exceed the timeout of that step.
        counts = operation.outcomes["forbid"]["counts"]
        check = operation.report_progress
        counts |= count_further(connection, learner, counts, check)
    return {"forgotten_at": forgotten_at, "counts": counts}


@_unless_closed
def redact(operation: ClaimedOperation) -> object:
    """Empty all events of the learner except UserDeleted.

    Delete the learner's exports, snapshots and pending events. Redact the dead letters and the
    operations that name the learner.
    """
    learner, total = _learner(operation), _counts(operation)["events"]
    done = 0

    def report(events: int) -> None:
        nonlocal done
        done += events
        operation.report_progress(min(0.9, 0.9 * done / max(total, 1)))

    with connection_for(operation) as connection:
        _delete_exports(operation, connection, learner)
        redact_events(connection, learner, report)
        redact_undeclared(connection, learner, report)
        redact_rest(connection, learner, operation.report_progress)
        _publish_deletion(connection, learner)
    return {}


@_unless_closed
def files(operation: ClaimedOperation) -> object:
    """Remove the learner from the archive; return the numbers of changed files and removed rows."""
    learner = _learner(operation)
    with connection_for(operation) as connection:
        removal = _rewrite_files(operation, connection, learner)
    return {"files": removal.files, "archived_events": removal.rows}


@_unless_closed
def close(operation: ClaimedOperation) -> object:
    """Remove the last traces of the learner; return the receipt.

    Wait for the queries, folds and batch runs that may have read the learner's rows, because they
    could write these rows again. Wait until the publisher is past the learner's deletion.
    """
    check, learner = operation.report_progress, _learner(operation)
    with connection_for(operation) as connection, contextlib.ExitStack() as locks:
        operation.call_without_rebuild(
            lambda: locks.enter_context(
                replacement.hold_lock(connection, Holder.ERASURE, operation.remaining_s())
            )
        )
        _wait_for_requests(operation, connection)
        _wait_for_publisher(operation, connection, learner)
        fold_deletion(connection, learner, operation.publisher)
        redact_events(connection, learner, lambda _: check(), with_deletions=True)
        redact_undeclared(connection, learner, lambda _: check())
        # This also replaces event ids in the manifest: the emptied UserDeleted has a new id.
        _rewrite_files(operation, connection, learner)
        hide_sessions(connection, learner, check)
        delete_marks(connection, learner)
        _delete_exports(operation, connection, learner)
        redact_rest(connection, learner, check)
        _delete_copies(operation, learner)
        receipt = _write_receipt(operation, connection, learner)
        keep_receipt(connection, learner, operation.id, receipt)
        analyze(connection, check)
    return receipt


def _write_receipt(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> dict[str, Any]:
    """Count the learner's remaining rows; return a receipt that does not contain the id."""
    check = operation.report_progress
    counts = count_of_learner(connection, learner, operation.id)
    counts |= count_further(connection, learner, counts, check)
    left = {f"event_store.{place}": rows for place, rows in counts.items()}
    left["operations.operations"] = left.pop("event_store.operations")
    left |= count_read_models(connection, learner, check)
    forbidden, forgotten = operation.outcomes["forbid"], operation.outcomes["forget"]
    now = read_time(connection)
    return {
        "digest": forbidden["digest"],
        "erased_at": forbidden["erased_at"],
        "forgotten_at": forgotten["forgotten_at"],
        "closed_at": now,
        "erased": _counts(operation) | operation.outcomes["files"],
        "found": sum(left.values()),
        "places": {place: rows for place, rows in left.items() if rows},
        "in_events_of_others": sum(_page(connection, "count mentions", _READ, learner, check)),
        "published": _PUBLISHED,
        "copies_until": {
            name: (now + age).date().isoformat() for name, age in _find_copies().items()
        },
    }


def _find_copies() -> dict[str, timedelta]:
    """Return the copies that nobody can change, and the time after which each is gone.

    Raise ProgressError if the bucket keeps backups for ever, because no receipt would be true.
    """
    bucket = settings.current().backup_bucket
    if not bucket:
        return _COPIES
    lifetime = storage.open_storage(f"gs://{bucket}").lifetime()
    if lifetime is None:
        raise ProgressError(
            f"gs://{bucket}: expected a lifecycle rule that deletes all objects by their age, as "
            "infra/terraform sets it: otherwise a backup keeps the learner's data for ever"
        )
    return _COPIES | {"backups": max(_COPIES["backups"], lifetime)}


def _counts(operation: ClaimedOperation) -> dict[str, int]:
    """Return the number of rows to erase in each place.

    If older code ran the step `forget`, the step's outcome has no counts.
    """
    counts: dict[str, int] = operation.outcomes["forbid"]["counts"]
    completed: dict[str, int] = operation.outcomes["forget"].get("counts", {})
    return counts | completed


def _wait_for_requests(operation: ClaimedOperation, connection: Connection) -> None:
    """Wait for the queries that may have read the learner's rows and could store them in Redis."""
    forgotten_at = operation.outcomes["forget"]["forgotten_at"]
    values = {"moment": forgotten_at}
    while database.run(connection, _FILE, "seconds since", **values)[0][0] < _REQUESTS_END_S:
        operation.wait()


def _publish_deletion(connection: Connection, learner: str) -> None:
    """Publish the learner's UserDeleted, unless Pub/Sub is down: then, the step `close` waits.

    Call this after all earlier events of the learner have been emptied; they are not published.
    """
    rows = database.run(connection, _FILE, "unpublished shard", learner=learner)
    publication.publish_shards(connection, [shard for (shard,) in rows], settings.current())


def _wait_for_publisher(operation: ClaimedOperation, connection: Connection, learner: str) -> None:
    """Publish the shard until the learner's UserDeleted has left the system.

    Wait while another worker is publishing. Raise PubSubUnavailable if Pub/Sub does not respond.
    """
    while unpublished := database.run(connection, _FILE, "unpublished shard", learner=learner):
        publication.publish(connection, unpublished[0][0], settings.current())
        if database.run(connection, _FILE, "unpublished shard", learner=learner):
            operation.wait()


def _rewrite_files(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> erasure.Removal:
    """Remove the learner from the archive; raise ArchiveRunning if the archive is locked."""
    archive = manifests.open_archive(settings.current())

    def report(progress: float) -> None:
        operation.report_progress(0.9 + 0.05 * progress)

    return erasure.remove_stream(connection, archive, f"learner-{learner}", report)


def _delete_copies(operation: ClaimedOperation, learner: str) -> None:
    """Delete the keys of Redis that hold copies about the learner."""
    if url := settings.current().redis_url:
        blocking_client.delete_keys(url, learner, operation.report_progress)


def _delete_exports(operation: ClaimedOperation, connection: Connection, learner: str) -> None:
    """End the exports that may hold the learner's rows, and delete their files."""
    exports = storage.open_storage(export_files.location(settings.current()))
    forgotten_at = operation.outcomes["forget"]["forgotten_at"]

    def remove_files(export_id: UUID) -> None:
        for suffix in export_files.MEDIA_TYPES:
            exports.remove_file(export_files.object_name(export_id, suffix))

    for export_id in list_exports(connection, learner, forgotten_at):
        remove = partial(remove_files, export_id)
        while not try_end_export(connection, export_id, remove):
            operation.wait()


def _learner(operation: ClaimedOperation) -> str:
    return parse_arguments(operation, EraseArguments).user_id


def forbid_learner(connection: Connection, learner: str, operation_id: UUID) -> erasure.Entry:
    """Record the learner's deletion; from now on, appends drop the learner's events."""
    values = {"learner": learner, "operation_id": operation_id}
    digest, *entry = database.run(connection, _FILE, "forbid learner", **values)[0]
    return erasure.Entry(digest, str(operation_id), *entry)


def read_key(connection: Connection) -> erasure.Key:
    """Return the secret key with which this log hashes learners' ids to digests."""
    return erasure.Key(*database.run(connection, _FILE, "read key")[0])


def count_of_learner(connection: Connection, learner: str, operation_id: UUID) -> dict[str, int]:
    """Return the number of rows to erase in each place; `count_further` counts the other rows."""
    values = {"learner": learner, "operation_id": operation_id}
    return database.fetch(connection, _FILE, "count of learner", **values)[0]


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
        for (table,) in database.run(connection, _FILE, "list tables of learners"):
            check()
            sql = fill(_FILE, "count rows", table=table)
            counts[table] = connection.run(sql, learner=learner)[0][0]
    return counts


def fold_deletion(connection: Connection, learner: str, publisher: Publisher) -> list[str]:
    """Delete the learner from every schema of read models; skip and return the busy schemas.

    A schema is busy while a rebuild folds the learner's shard into it.
    """
    return [
        name for name in list_schemas(connection) if not _fold(connection, name, learner, publisher)
    ]


def list_schemas(connection: Connection) -> list[str]:
    """Return the names of all schemas of read models, including those of other revisions."""
    return [name for (name,) in database.run(connection, _FILE, "list schemas")]


def _fold(connection: Connection, name: str, learner: str, publisher: Publisher) -> bool:
    is_built = not name.endswith("_building")
    change = Change(None, None, catalogue=None)
    with database.transaction(connection):
        schema.set_search_path(connection, name)
        if is_built:
            database.run(connection, _FILE, "lock shard", learner=learner)
        elif not database.run(connection, _FILE, "try to lock shard", learner=learner)[0][0]:
            return False
        if schema.exists(connection, name):
            version = database.run(connection, _FILE, "fold deletion", learner=learner)[0][0]
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
            redacted = database.run(connection, _FILE, "redact events", **values)[0][0]
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
            found, stream, version = database.run(connection, _FILE, block, **values)[0]
        yield found


def redact_rest(connection: Connection, learner: str, check: Check) -> None:
    """Delete the learner's snapshots, milestone marks and pending events.

    Redact the learner's dead letters, and the finished operations that name the learner.
    """
    chunks, deleted = Chunks(CHUNK, check), 1
    while deleted:
        with chunks.next() as at_most:
            values = {"learner": learner, "at_most": at_most}
            deleted = database.run(connection, _FILE, "delete snapshots", **values)[0][0]
    database.run(connection, _FILE, "delete milestone marks", learner=learner)
    database.run(connection, _FILE, "delete pending", learner=learner)
    redact_letters_of(connection, learner, check)
    database.run(connection, _FILE, "redact operations", learner=learner, own=None)


def redact_letters_of(connection: Connection, learner: str | None, check: Check) -> None:
    """Redact the learner's dead letters or, if `learner` is None, those of all erased learners."""
    deque(_page(connection, "redact letters of", _LETTERS, learner, check), maxlen=0)


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
            found, reached = database.run(connection, _FILE, block, **values)[0]
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
            for block in ("lock batch", "lock shard", "lock snapshots", "delete learner"):
                database.run(connection, _FILE, block, learner=learner)
            database.run(connection, _FILE, "delete mark", learner=learner)


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


def keep_receipt(connection: Connection, learner: str, operation_id: UUID, receipt: object) -> None:
    """Store the receipt, and remove the learner's id from the operation that erases the learner."""
    text = msgspec.json.encode(receipt).decode()
    with database.transaction(connection):
        database.run(connection, _FILE, "keep receipt", operation_id=operation_id, receipt=text)
        database.run(connection, _FILE, "redact operations", learner=learner, own=operation_id)


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
    """Return the size of the next chunk after a chunk of `size` took `seconds`."""
    growth = min(_MOST_GROWTH, _TARGET_S / max(seconds, 1e-3))
    return max(1, min(largest, int(size * growth)))
