"""The steps of ERASE_USER. If a worker dies during a step, another worker repeats the step."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import blocking_client
from progress.archive import erasure, location
from progress.errors import OperationEnded, RebuildRunning
from progress.operations import erase_user, erasure_ledger, export_files, export_user
from progress.operations.claim import ClaimedOperation
from progress.operations.records import OperationState
from progress.operations.step_connections import connection_for, parse_arguments
from progress.projections import replacement, schema
from progress.projections.replacement import Holder

_RETRY_INTERVAL_S = 0.2  # the pause between tries to take a lock that another worker holds

# The wait after the step `forget`. A query that began earlier may still store a response with the
# learner's rows in Redis. The query ends within 10 s. It stores the response only while Redis has a
# copy of the learner's version, and this copy expires after 5 s.
_REQUESTS_END_S = 20.0

# Copies of the learner's data that nobody can change, and the time after which each is gone.
_COPIES = {
    "backups": timedelta(days=7),
    "pubsub": timedelta(days=7),
    "pubsub_dead_letters": timedelta(days=31),
}


class EraseArguments(msgspec.Struct, frozen=True):
    """The arguments of ERASE_USER."""

    user_id: str


Step = Callable[[ClaimedOperation], object]


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
            receipt = erase_user.find_receipt(connection, operation.id)
            if receipt is None:
                raise OperationEnded(
                    OperationState.FAILED,
                    "the learner's id is missing, and there is no receipt: "
                    "run `progress erasures apply`",
                )
            erase_user.analyze(connection, operation.report_progress)
        return receipt

    return run


@_unless_closed
def forbid(operation: ClaimedOperation) -> object:
    """Forbid new events of the learner, and write the ledger; return the digest and row counts."""
    learner = _learner(operation)
    with connection_for(operation) as connection:
        archive = location.open_archive(settings.current())
        # If the ledger has another key, `write_key` raises an error, and the log must adopt the key
        # of the ledger. A log that has recorded an erasure cannot adopt a key. Therefore, call
        # `write_key` before `forbid`, which records the erasure.
        erasure_ledger.write_key(archive, erase_user.read_key(connection))
        forbidden = erase_user.forbid(connection, learner, operation.id)
        entry = erasure_ledger.Entry(
            forbidden.digest, str(operation.id), forbidden.erased_at,
            forbidden.token_count, forbidden.tokens_digest,
        )  # fmt: skip
        erasure_ledger.write_entry(archive, entry)
        counts = erase_user.count(connection, learner, operation.id)
        now = erase_user.read_time(connection)
        counts["exports"] = len(erase_user.list_exports(connection, learner, now))
    return {"digest": forbidden.digest, "erased_at": forbidden.erased_at, "counts": counts}


@_unless_closed
def forget(operation: ClaimedOperation) -> object:
    """Remove the learner from the read models and from Redis; return the complete row counts."""
    learner = _learner(operation)
    with connection_for(operation) as connection:
        erase_user.fold_deletion(connection, learner, operation.publisher)
        # Fold the event that the first step recorded, because no wake-up was sent for it.
        schema.set_search_path(connection)
        if schema.exists(connection, schema.schema_name()):
            export_user.catch_up(connection, learner, operation.publisher, operation.wait)
        _delete_copies(operation, learner)
        forgotten_at = erase_user.read_time(connection)
        # Not counted in `forbid`: counting many dead letters may exceed the timeout of that step.
        counts = operation.outcomes["forbid"]["counts"]
        check = operation.report_progress
        counts |= erase_user.count_further(connection, learner, counts, check)
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
        erase_user.redact_events(connection, learner, report)
        erase_user.redact_undeclared(connection, learner, report)
        erase_user.redact_rest(connection, learner, operation.report_progress)
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
    could write these rows again.
    """
    check, learner = operation.report_progress, _learner(operation)
    with connection_for(operation) as connection, _rebuild_lock(operation, connection):
        _wait_for_requests(operation, connection)
        erase_user.fold_deletion(connection, learner, operation.publisher)
        erase_user.redact_events(connection, learner, lambda _: check(), with_deletions=True)
        erase_user.redact_undeclared(connection, learner, lambda _: check())
        # This also replaces event ids in the manifest: the emptied UserDeleted has a new id.
        _rewrite_files(operation, connection, learner)
        erase_user.hide_sessions(connection, learner, check)
        erase_user.delete_marks(connection, learner)
        _delete_exports(operation, connection, learner)
        erase_user.redact_rest(connection, learner, check)
        _delete_copies(operation, learner)
        receipt = _write_receipt(operation, connection, learner)
        erase_user.keep_receipt(connection, learner, operation.id, receipt)
        erase_user.analyze(connection, check)
    return receipt


def _write_receipt(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> dict[str, Any]:
    """Count the learner's remaining rows; return a receipt that does not contain the id."""
    check = operation.report_progress
    counts = erase_user.count(connection, learner, operation.id)
    counts |= erase_user.count_further(connection, learner, counts, check)
    left = {f"event_store.{place}": rows for place, rows in counts.items()}
    left["operations.operations"] = left.pop("event_store.operations")
    left |= erase_user.count_read_models(connection, learner, check)
    forbidden, forgotten = operation.outcomes["forbid"], operation.outcomes["forget"]
    now = erase_user.read_time(connection)
    return {
        "digest": forbidden["digest"],
        "erased_at": forbidden["erased_at"],
        "forgotten_at": forgotten["forgotten_at"],
        "closed_at": now,
        "erased": _counts(operation) | operation.outcomes["files"],
        "found": sum(left.values()),
        "places": {place: rows for place, rows in left.items() if rows},
        "in_events_of_others": erase_user.count_mentions(connection, learner, check),
        "copies_until": {name: _end_of(now, age) for name, age in _COPIES.items()},
    }


def _counts(operation: ClaimedOperation) -> dict[str, int]:
    """Return the number of rows to erase in each place.

    If older code ran the step `forget`, the step's outcome has no counts.
    """
    counts: dict[str, int] = operation.outcomes["forbid"]["counts"]
    completed: dict[str, int] = operation.outcomes["forget"].get("counts", {})
    return counts | completed


def _end_of(now: datetime, age: timedelta) -> str:
    return (now + age).date().isoformat()


def _wait_for_requests(operation: ClaimedOperation, connection: Connection) -> None:
    """Wait for the queries that may have read the learner's rows and could store them in Redis."""
    forgotten_at = operation.outcomes["forget"]["forgotten_at"]
    while erase_user.read_age_s(connection, forgotten_at) < _REQUESTS_END_S:
        operation.wait(_RETRY_INTERVAL_S)


def _rewrite_files(
    operation: ClaimedOperation, connection: Connection, learner: str
) -> erasure.Removal:
    """Remove the learner from the archive; raise ArchiveRunning if the archive is locked."""
    archive = location.open_archive(settings.current())

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

    for export_id in erase_user.list_exports(connection, learner, forgotten_at):
        remove = partial(remove_files, export_id)
        while not erase_user.try_end_export(connection, export_id, remove):
            operation.wait(_RETRY_INTERVAL_S)


@contextlib.contextmanager
def _rebuild_lock(operation: ClaimedOperation, connection: Connection) -> Iterator[None]:
    """Wait while a rebuild is running; hold the rebuild lock until the `with` block ends."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                lock = replacement.hold_lock(connection, Holder.ERASURE, operation.remaining_s())
                stack.enter_context(lock)
                break
            except RebuildRunning as error:
                operation.wait(_RETRY_INTERVAL_S, error)
        yield


def _learner(operation: ClaimedOperation) -> str:
    return parse_arguments(operation, EraseArguments).user_id
