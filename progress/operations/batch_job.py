"""Run one task of a batch run, and write a log entry at its end.

The first task measures the gauges before it does other work, and adds them to its log entry.
"""

import msgspec

from progress.adapters import startup
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.pubsub import backlog, wakeups
from progress.adapters.telemetry import logs, tracing
from progress.archive import runs
from progress.errors import DatabaseUnavailable, ProgressError
from progress.event_store import analysts, dead_letters, publication
from progress.operations import claimed_operations, export_files, records
from progress.operations.records import ARCHIVE_SUBJECT, OperationKind
from progress.projections import batch, gauges, replacement, schema
from progress.projections.projector import SHARDS
from progress.settings import Settings

_LETTERS_PER_RUN = _ACCESSES_PER_RUN = 10_000
_LETTERS_READ = 1_000  # in one transaction
_FORMER_SCHEMA_DAYS = 7
_ANNOUNCEMENTS_PER_RUN = 1_000
_ERASURES_PER_RUN = 10  # few, so that many deletions do not delay other operations
_FILE = "operations/operations"


def run(settings: Settings) -> int:
    """Wake the workers of operations and run the batch; return the exit status of the job's task.

    The status is 1 if this task failed, otherwise 0 (also if another run does this task's share).
    """
    with (
        tracing.start_span("batch", None, "internal") as span,
        backlog.open_backlog(settings) as changes,
    ):
        if changes.is_idle and not settings.erases_by_time:
            logs.write("INFO", "batch run: nothing changed", operation="batch", outcome="ok")
            return 0
        measured: dict[str, float] = {}
        try:
            connection = startup.connect(settings, name="batch")
            if settings.cloud_run_task_index == 0:
                measured = msgspec.structs.asdict(gauges.measure(connection))
            report, called = _run(connection, settings)
            shards = SHARDS[settings.cloud_run_task_index :: settings.cloud_run_task_count]
            is_published = publication.publish_shards(connection, shards, settings)
        except ProgressError as error:
            message = f"the batch run failed: {error}"
            span.record_error(message)
            is_last = settings.cloud_run_task_attempt >= settings.task_retries
            logs.write(
                "ERROR" if is_last else "WARNING",
                message,
                operation="batch",
                outcome="error" if is_last else "retried",
                **measured,
            )
            return 1
        if report.is_whole and is_published:
            changes.acknowledge()
        _log(report, called, measured)
    return 0


def call_workers(connection: Connection) -> int:
    """Send a command for each unclaimed operation; return the number of commands."""
    with database.translate_errors(claimed_operations.translate):
        unclaimed = records.list_unclaimed(connection)
    wakeups.send_operations(unclaimed)
    return len(unclaimed)


def _log(report: batch.BatchReport, called: int, measured: dict[str, float]) -> None:
    done = "another run has the lock" if report.learners is None else "done"
    logs.write(
        "INFO",
        f"batch run: {done}",
        operation="batch",
        outcome="ok",
        called=called,
        replayed=report.replayed,
        swept=report.swept,
        learners=report.learners or 0,
        **measured,
    )


def _run(connection: database.Connection, settings: Settings) -> tuple[batch.BatchReport, int]:
    """Run this task's share; return its report, and the number of commands sent to workers."""
    index, count = settings.cloud_run_task_index, settings.cloud_run_task_count
    called = 0
    if index == 0:
        analysts.end_locks(connection)
        analysts.remove_objects(connection)
        with database.translate_errors(_translate):
            delete_old_records(connection)
            dead_letters.record_owners(connection)
            empty_old_letters(connection, settings.malformed_days)
            export_files.delete_old(settings)
            erase_by_time(connection, settings.erase_deleted_after_days, settings.retention_months)
            start_archive_if_due(connection)
            replacement.drop_former(connection, settings.former_schema_days or _FORMER_SCHEMA_DAYS)
        called = call_workers(connection)
    return batch.run(connection, index, count), called


def delete_old_records(connection: Connection) -> None:
    """Delete dead letters closed for 90 days, and after 400 days operations, traces, conflicts.

    A failed erasure is kept until another erasure of the learner has succeeded.
    """
    database.run(connection, _FILE, "delete closed letters", limit=_LETTERS_PER_RUN)
    database.run(connection, _FILE, "delete finished operations")
    database.run(connection, "event_store/accesses", "delete old", limit=_ACCESSES_PER_RUN)
    database.run(connection, "event_store/accesses", "delete old conflicts")


def empty_old_letters(connection: Connection, days: int) -> None:
    """Empty the dead letters of this age that nobody can decode."""
    values = {"days": days, "limit": _LETTERS_READ}
    while database.run(connection, _FILE, "empty old letters", **values)[0][0]:
        pass


def erase_by_time(connection: Connection, deleted_days: int | None, months: int | None) -> None:
    """Start to erase the learners that were deleted, or are silent, for more than a time.

    At most ten of each kind. Those who are silent for `months` are announced before; the publisher
    publishes the announcements. Without `months`, withdraw all of them.
    """
    schema.set_search_path(connection)
    database.run(connection, _FILE, "withdraw announcements", months=months)
    rows = []
    if deleted_days is not None:
        values = {"days": deleted_days, "limit": _ERASURES_PER_RUN}
        rows += database.run(connection, _FILE, "deleted learners to erase", **values)
    if months is not None:
        values = {"months": months, "limit": _ERASURES_PER_RUN}
        rows += database.run(connection, _FILE, "announced learners to erase", **values)
        values["limit"] = _ANNOUNCEMENTS_PER_RUN
        database.run(connection, _FILE, "announce erasures", **values)
    for learner, key, announcement, reason in rows:
        records.accept(
            connection,
            OperationKind.ERASE_USER,
            caller=records.BATCH_JOB,
            key=key,
            subject=learner,
            user_id=learner,
            announcement=announcement,
            reason=reason,
        )


def start_archive_if_due(connection: Connection) -> None:
    """Start the day's ARCHIVE if it is due.

    ARCHIVE is due if the log has at least `runs.RANGE` unarchived events, or if the log's first
    unarchived event is older than `runs.MAX_AGE_DAYS`.
    """
    limits = {"range_length": runs.RANGE, "max_age_days": runs.MAX_AGE_DAYS}
    is_due, day = database.run(connection, _FILE, "archive is due", **limits)[0]
    if is_due:
        records.accept(
            connection,
            OperationKind.ARCHIVE,
            caller=records.BATCH_JOB,
            key=day,
            subject=ARCHIVE_SUBJECT,
        )


def _translate(failure: Failure) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"old records were not deleted: {failure.message}")
