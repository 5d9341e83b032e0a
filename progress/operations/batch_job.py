"""Run one task of a batch run, and write a log entry at its end.

The first task measures the gauges before it does other work, and adds them to its log entry.
"""

import msgspec

from progress.adapters import startup
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import backlog, wakeups
from progress.adapters.telemetry import logs, tracing
from progress.errors import ProgressError
from progress.operations import archive_schedule, claim, export_files, records, retention
from progress.projections import batch, gauges
from progress.projections.notifications import Publisher
from progress.settings import Settings


def run(settings: Settings) -> int:
    """Wake the workers of operations and run the batch; return the exit status of the job's task.

    The status is 1 if this task failed, otherwise 0 (also if another run does this task's share).
    """
    with (
        tracing.start_span("batch", None, "internal") as span,
        backlog.open_backlog(settings) as changes,
    ):
        if changes.is_idle:
            logs.write("INFO", "batch run: nothing changed", operation="batch", outcome="ok")
            return 0
        measured: dict[str, float] = {}
        try:
            connection = startup.connect(settings, name="batch")
            if settings.cloud_run_task_index == 0:
                measured = msgspec.structs.asdict(gauges.measure(connection))
            report, called = _run(connection, settings)
        except ProgressError as error:
            message = f"the batch run failed: {error}"
            span.record_error(message)
            logs.write("ERROR", message, operation="batch", outcome="error", **measured)
            return 1
        if report.is_whole:
            changes.acknowledge()
        _log(report, called, measured)
    return 0


def call_workers(connection: Connection) -> int:
    """Send a command for each unclaimed operation; return the number of commands."""
    with database.translate_errors(claim.translate):
        unclaimed = records.list_unclaimed(connection)
    wakeups.send_operations(unclaimed)
    return len(unclaimed)


def _log(report: batch.Report, called: int, measured: dict[str, float]) -> None:
    done = "another run has the lock" if report.learners is None else "done"
    logs.write(
        "INFO", f"batch run: {done}", operation="batch", outcome="ok", called=called,
        replayed=report.replayed, swept=report.swept, learners=report.learners or 0, **measured,
    )  # fmt: skip


def _run(connection: database.Connection, settings: Settings) -> tuple[batch.Report, int]:
    """Run this task's share; return its report, and the number of commands sent to workers."""
    index, count = settings.cloud_run_task_index, settings.cloud_run_task_count
    called = 0
    if index == 0:
        retention.delete_closed_letters(connection)
        retention.delete_finished_operations(connection)
        export_files.delete_old(settings)
        if settings.erase_deleted_after_days is not None:
            retention.start_erasures(connection, settings.erase_deleted_after_days)
        archive_schedule.start_if_due(connection)
        called = call_workers(connection)
    return batch.run(connection, index, count, Publisher(settings.redis_url)), called
