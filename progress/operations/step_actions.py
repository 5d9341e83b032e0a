"""Run the steps of each kind of operation. Another worker may repeat any of them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.adapters.telemetry.logs import Severity
from progress.errors import EventStoreError, OperationEnded, ProgressError, RebuildRunning
from progress.operations import claim
from progress.operations.claim import ClaimedOperation
from progress.projections import batch, notifications, rebuild, replay
from progress.projections.notifications import Publisher

_CONNECTION_TIMEOUT_S = 30.0
_RETRY_INTERVAL_S = 0.2  # while another run holds the lock
_FOLD_SHARE = 0.9  # of a rebuild's progress


def run(operation_id: UUID, publisher: Publisher = notifications.DISABLED) -> bool:
    """Run the operation to its end, good or bad; False if it is claimed or finished.

    Raises Unavailable if it must be attempted again.
    """
    with _closing(_connect(timeout_s=_CONNECTION_TIMEOUT_S)) as connection:
        operation = claim.claim(connection, operation_id, publisher)
        if operation is None:
            return False
        try:
            operation.succeed(_run_steps(operation))
        except OperationEnded as end:
            operation.record_end(end)
            _log("ERROR", operation, str(end))
        else:
            _log("INFO", operation, "done")
    return True


def _log(severity: Severity, operation: ClaimedOperation, message: str) -> None:
    kind = operation.kind.lower()
    outcome = "ok" if severity == "INFO" else "error"
    logs.write(
        severity, f"{kind}: {message}", operation=kind, operation_id=str(operation.id),
        outcome=outcome,
    )  # fmt: skip


def _run_steps(operation: ClaimedOperation) -> object:
    try:
        with database.translate_errors(lambda failure: ProgressError(failure.message)):
            return _ACTIONS[operation.kind](operation)
    except OperationEnded:
        raise
    except ProgressError as error:
        operation.fail_attempt(error)


def _run_batch(operation: ClaimedOperation) -> object:
    """Run the whole batch job, after a scheduled run that holds the lock."""
    operation.begin_step("batch")
    replayed = swept = 0
    with _connection_for_step(operation) as connection:
        while True:
            report = batch.run(connection, publisher=operation.publisher)
            replayed += report.replayed
            swept += report.swept
            if report.learners is not None:
                break
            operation.raise_if_expired()
            time.sleep(_RETRY_INTERVAL_S)
    return {"replayed": replayed, "swept": swept, "learners": report.learners}


def _rebuild(operation: ClaimedOperation) -> object:
    """Rebuild every projection, after another rebuild that is running."""
    operation.begin_step("fold")

    def report_progress(folded: int, total: int) -> None:
        operation.report_progress(_FOLD_SHARE * folded / max(total, 1))

    def begin_swap(connection: Connection) -> None:
        operation.begin_step("swap")
        operation.with_deadline(connection)

    while True:
        try:
            folded = rebuild.run(
                lambda: operation.with_deadline(_connect()),
                on_progress=report_progress,
                on_folded=begin_swap,
                publisher=operation.publisher,
            )
        except RebuildRunning:
            operation.raise_if_expired()
            time.sleep(_RETRY_INTERVAL_S)
        else:
            return {"events": folded}


def _replay(operation: ClaimedOperation) -> object:
    """Replay each dead letter; return the ids replayed, and why the others stay."""
    operation.begin_step("replay")
    ids: list[int] = operation.arguments["letter_ids"]
    replayed: list[str] = []
    stay: list[dict[str, str]] = []
    with _connection_for_step(operation) as connection:
        for done, letter_id in enumerate(ids):
            operation.report_progress(done / len(ids))
            try:
                reason = replay.replay(connection, letter_id, operation.publisher)
            except EventStoreError as error:
                reason = str(error)
            if reason is None:
                replayed.append(str(letter_id))
            else:
                stay.append({"id": str(letter_id), "reason": reason})
    return {"replayed": replayed, "stay": stay}


_ACTIONS: dict[str, Callable[[ClaimedOperation], object]] = {
    "RUN_BATCH": _run_batch,
    "REBUILD": _rebuild,
    "REPLAY_DEAD_LETTERS": _replay,
}


@contextlib.contextmanager
def _connection_for_step(operation: ClaimedOperation) -> Iterator[Connection]:
    with _closing(_connect()) as connection:
        yield operation.with_deadline(connection)


@contextlib.contextmanager
def _closing(connection: Connection) -> Iterator[Connection]:
    try:
        yield connection
    finally:
        database.close(connection)


def _connect(timeout_s: float | None = None) -> Connection:
    return database.connect(settings.current(), name="operation", timeout_s=timeout_s)
