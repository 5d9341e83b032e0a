"""ERASE_USER: the steps that erase a learner, in their order.

If a worker dies during a step, another worker repeats the step, so each call can be repeated. The
last step repeats what the steps before it removed, because somebody who read the learner's rows
earlier may have written them again.
"""

import contextlib
import functools
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import blocking_client
from progress.archive import catalogue, erased_files, erasure_ledger
from progress.errors import OperationEnded, ProgressError, WebhookUnavailable
from progress.event_store import dead_letters, publication
from progress.operations import erasure_rows, export_files, records
from progress.operations.claimed_operations import ClaimedOperation, connection_for, parse_arguments
from progress.operations.records import OperationState
from progress.projections import live, projector, replacement
from progress.projections.replacement import Holder

Step = Callable[[ClaimedOperation], object]

# The wait after the step `forget`. A query that began earlier may still store a response with the
# learner's rows in Redis, until its deadline, 10 s after it began.
_REQUESTS_END_S = 11.0

_RECEIVER_S = 86_400.0  # after the step `forget`; then nothing about the learner is posted any more
_ASKS = 10  # so that an attempt waits for 2 s; a system of one machine repeats it later

# Copies of the learner's data that nobody can change, and the time after which each is gone.
_COPIES = {
    "backups": timedelta(days=7),  # of Cloud SQL or Neon; dumps are kept for longer
    "pubsub": timedelta(days=7),
    "pubsub_dead_letters": timedelta(days=31),
}

# The longest time for which the scheduled run keeps a dump: one of each month, for a year.
_DUMPS_KEPT = timedelta(days=367)

# What left the system before the deletion; its subscribers got a UserDeleted, too.
_PUBLISHED = "stays with its subscribers"
_LATER_LETTERS = (
    "one that arrives after the step redact keeps its bytes for {} days, and is not searched"
)


class EraseArguments(msgspec.Struct, frozen=True):
    """The arguments of ERASE_USER; the announcement may be withdrawn until the erasure begins."""

    user_id: str
    announcement: str | None = None
    reason: str = "requested"


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
            found = erasure_rows.find_receipt(connection, operation.id)
            if found is None:
                raise OperationEnded(
                    OperationState.FAILED,
                    "the learner's id is missing, and there is no receipt: "
                    "run `progress erasures apply`",
                )
            erasure_rows.analyze(connection, operation.report_progress)
        return found

    return run


@_unless_closed
def forbid(operation: ClaimedOperation) -> object:
    """Forbid new events of the learner, and write the ledger; return the digest and row counts."""
    arguments = parse_arguments(operation, EraseArguments)
    learner = arguments.user_id
    with connection_for(operation) as connection:
        archive = catalogue.open_archive(settings.current())
        # If the ledger has another key, `write_key` raises an error, and the log must adopt the key
        # of the ledger. A log that has recorded an erasure cannot adopt a key. Therefore, call
        # `write_key` before `forbid_learner`, which records the erasure.
        erasure_ledger.write_key(archive, erasure_rows.read_key(connection))
        with database.transaction(connection):
            if arguments.announcement is not None and erasure_rows.is_withdrawn(
                connection, learner, arguments.announcement, operation.id
            ):
                raise OperationEnded(
                    OperationState.FAILED,
                    "an event was recorded after the announcement, or it was withdrawn",
                    cancelled_by=records.RETURN,
                )
            entry = erasure_rows.forbid_learner(connection, learner, operation.id)
        erasure_ledger.write_entry(archive, entry)
        counts = erasure_rows.count_of_learner(connection, learner, operation.id)
        now = erasure_rows.read_time(connection)
        counts["exports"] = len(erasure_rows.list_exports(connection, learner, now))
    return {"digest": entry.digest, "erased_at": entry.erased_at, "counts": counts}


@_unless_closed
def forget(operation: ClaimedOperation) -> object:
    """Remove the learner from the read models, from Redis and from the traces of who read whom.

    Return the complete row counts.
    """
    learner = _learner(operation)
    with connection_for(operation) as connection:
        erasure_rows.fold_deletion(connection, learner)
        # Fold the event that the first step recorded, because no wake-up was sent for it.
        found = live.find(connection)
        for name in filter(found.is_read, found.schemas):
            projector.catch_up_learner(connection, learner, operation.wait, name)
        _delete_copies(operation, learner)
        # Before the time is read: exports that start later do not find the learner as a reader.
        erasure_rows.redact_accesses(connection, learner, operation.report_progress)
        forgotten_at = erasure_rows.read_time(connection)
        # Not counted in `forbid`: counting many dead letters may exceed the timeout of that step.
        counts = operation.outcomes["forbid"]["counts"]
        check = operation.report_progress
        dead_letters.record_owners(connection, check)
        counts |= erasure_rows.count_further(connection, learner, counts, check)
    return {"forgotten_at": forgotten_at, "counts": counts}


@_unless_closed
def redact(operation: ClaimedOperation) -> object:
    """Empty all events of the learner except UserDeleted.

    Delete the learner's exports, snapshots and pending events. Redact the operations and the dead
    letters that name the learner, and the dead letters that nobody can decode.
    """
    learner, total = _learner(operation), _counts(operation)["events"]
    done = 0

    def report(events: int) -> None:
        nonlocal done
        done += events
        operation.report_progress(min(0.9, 0.9 * done / max(total, 1)))

    with connection_for(operation) as connection:
        dead_letters.record_owners(connection, operation.report_progress)
        _redact_rest(operation, connection, learner)
        erasure_rows.redact_letters(connection, learner, operation.report_progress)
        erasure_rows.redact_events(connection, learner, report)
        # The other events are empty by now. If Pub/Sub is down, the step `close` waits.
        if found := erasure_rows.find_unpublished(connection, learner):
            publication.publish_shards(connection, found[:1], settings.current())
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
    """Repeat the steps before, and remove the last traces of the learner; return the receipt.

    Wait for the queries, folds and batch runs that may have read the learner's rows, because they
    could write these rows again. Before, wait until the publisher is past the learner's deletion.
    """
    check, learner = operation.report_progress, _learner(operation)
    with connection_for(operation) as connection, contextlib.ExitStack() as locks:
        dropped = _wait_for_publisher(operation, connection, learner)
        operation.call_without_rebuild(
            lambda: locks.enter_context(
                replacement.hold_lock(connection, Holder.ERASURE, operation.remaining_s())
            )
        )
        _wait_for_requests(operation, connection)
        erasure_rows.fold_deletion(connection, learner)
        erasure_rows.redact_events(connection, learner, lambda _: check(), with_deletions=True)
        _rewrite_files(operation, connection, learner)
        # This waits for whoever could write the learner's rows again, so the rest is after it.
        erasure_rows.delete_marks(connection, learner)
        _redact_rest(operation, connection, learner)
        erasure_rows.redact_letters(connection, learner, check, undecodable=False)
        # The sessions say whose undeclared events and letters are, so they are hidden after these.
        erasure_rows.hide_sessions(connection, learner, check)
        _delete_copies(operation, learner)
        receipt = _write_receipt(operation, connection, learner, dropped)
        erasure_rows.keep_receipt(connection, learner, operation.id, receipt)
        erasure_rows.analyze(connection, check)
    return receipt


def _write_receipt(
    operation: ClaimedOperation, connection: Connection, learner: str, dropped: dict[str, int]
) -> dict[str, Any]:
    """Count the learner's remaining rows; return a receipt that does not contain the id."""
    check = operation.report_progress
    counts = erasure_rows.count_of_learner(connection, learner, operation.id)
    counts |= erasure_rows.count_further(connection, learner, counts, check, undecodable=False)
    del counts["undecodable_letters"], counts["bundled_letters"]
    left = {f"event_store.{place}": rows for place, rows in counts.items()}
    left["operations.operations"] = left.pop("event_store.operations")
    left |= erasure_rows.count_read_models(connection, learner, check)
    forbidden, forgotten = operation.outcomes["forbid"], operation.outcomes["forget"]
    now = erasure_rows.read_time(connection)
    return {
        "digest": forbidden["digest"],
        "erased_at": forbidden["erased_at"],
        "forgotten_at": forgotten["forgotten_at"],
        "closed_at": now,
        "reason": parse_arguments(operation, EraseArguments).reason,
        "erased": _counts(operation) | operation.outcomes["files"] | dropped,
        "found": sum(left.values()),
        "places": {place: rows for place, rows in left.items() if rows},
        "in_events_of_others": erasure_rows.count_mentions(connection, learner, check),
        "published": _PUBLISHED,
        "undecodable_letters": _LATER_LETTERS.format(settings.current().malformed_days),
        "copies_until": {
            name: (now + age).date().isoformat() for name, age in _find_copies().items()
        },
    }


def _find_copies() -> dict[str, timedelta]:
    """Return the copies that nobody can change, and the time after which each is gone.

    The scheduled run removes dumps in the end. In a bucket, a deleted one can be restored for some
    time, and a lifecycle rule must delete what no run removes. Raise ProgressError without one.
    """
    last = _COPIES["backups"]
    for location in filter(None, (settings.current().dump_to, settings.current().dump_copy_to)):
        lifetime = storage.open_storage(location).lifetime()
        if lifetime is None and location.startswith("gs://"):
            raise ProgressError(
                f"{location}: expected a lifecycle rule that deletes all objects by their age, as "
                "infra/terraform sets it: otherwise a dump keeps the learner's data for ever"
            )
        last = max(last, lifetime or _DUMPS_KEPT)
    return _COPIES | {"backups": last}


def _counts(operation: ClaimedOperation) -> dict[str, int]:
    """Return the number of rows to erase in each place."""
    counts: dict[str, int] = operation.outcomes["forbid"]["counts"]
    return {**counts, **operation.outcomes["forget"]["counts"]}


def _wait_for_requests(operation: ClaimedOperation, connection: Connection) -> None:
    """Wait for the queries that may have read the learner's rows and could store them in Redis."""
    forgotten_at = operation.outcomes["forget"]["forgotten_at"]
    if not settings.current().redis_url:
        return
    while erasure_rows.seconds_since(connection, forgotten_at) < _REQUESTS_END_S:
        operation.wait()


def _wait_for_publisher(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> dict[str, int]:
    """Publish the shard until UserDeleted has left; raise PubSubUnavailable without a response.

    A receiver at WEBHOOK_URL has a day. Return how many messages are dropped then, by their name.
    """
    current, asks = settings.current(), 0
    try:
        while found := erasure_rows.find_unpublished(connection, learner):
            if current.webhook_url and asks == _ASKS:
                raise WebhookUnavailable("the deletion has not left yet")
            if asks:
                operation.wait()
            publication.publish(connection, found[0], current)
            asks += 1
    except WebhookUnavailable:
        forgotten_at = operation.outcomes["forget"]["forgotten_at"]
        if not found or erasure_rows.seconds_since(connection, forgotten_at) < _RECEIVER_S:
            raise
        return {"dropped_messages": found[1]}
    return {}


def _rewrite_files(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> erased_files.Removal:
    """Remove the learner from the archive; raise ArchiveRunning if the archive is locked."""
    archive = catalogue.open_archive(settings.current())

    def report(progress: float) -> None:
        operation.report_progress(0.9 + 0.05 * progress)

    return erased_files.remove_stream(connection, archive, f"learner-{learner}", report)


def _delete_copies(operation: ClaimedOperation, learner: str) -> None:
    if url := settings.current().redis_url:
        blocking_client.delete_keys(url, learner, operation.report_progress)


def _redact_rest(operation: ClaimedOperation, connection: Connection, learner: str) -> None:
    """Remove what is about the learner, but is no event; end the exports that may hold rows."""
    exports = storage.open_storage(export_files.location(settings.current()))
    forgotten_at = operation.outcomes["forget"]["forgotten_at"]

    def remove_files(export_id: UUID) -> None:
        for suffix in export_files.MEDIA_TYPES:
            exports.remove_file(export_files.object_name(export_id, suffix))

    for export_id in erasure_rows.list_exports(connection, learner, forgotten_at):
        remove = partial(remove_files, export_id)
        while not erasure_rows.try_end_export(connection, export_id, remove):
            operation.wait()
    erasure_rows.redact_rest(connection, learner, operation.report_progress)


def _learner(operation: ClaimedOperation) -> str:
    return parse_arguments(operation, EraseArguments).user_id
