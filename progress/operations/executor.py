"""The executor: run the steps of an operation, and compensate them if it fails.

An operation resumes at its first incomplete step. Before its point of no return, a failure, a
timeout or a cancellation compensates the steps that began, last first. After that point, completed
steps remain, and `retryOperation` resumes at the first incomplete one.
"""

import contextlib
import time
from collections.abc import Iterator
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Failure
from progress.adapters.telemetry import logs, tracing
from progress.errors import OperationEnded, ProgressError, Unavailable
from progress.operations import claim, step_actions
from progress.operations.claim import ClaimedOperation
from progress.projections import notifications
from progress.projections.notifications import Publisher

_CONNECTION_TIMEOUT_S = 30.0


def run(operation_id: UUID, publisher: Publisher = notifications.DISABLED) -> bool:
    """Run the operation until it succeeds or fails; False if it does not exist or has finished.

    Raise Unavailable if the command must be delivered again.
    """
    connection = database.connect(
        settings.current(), name="operation", timeout_s=_CONNECTION_TIMEOUT_S
    )
    try:
        operation = claim.claim(connection, operation_id, publisher)
        if operation is None:
            return False
        with database.translate_errors(_translate), operation.resources:
            end = operation.end or _run_steps(operation)
        if end is not None and not operation.is_irrevocable:
            end = _compensate(operation, end)
        if end is None:
            operation.succeed()
        else:
            operation.record_end(end)
        _log_end(operation, end)
    finally:
        database.close(connection)
    return True


def _run_steps(operation: ClaimedOperation) -> OperationEnded | None:
    """Run the incomplete steps; return None on success, else the failure."""
    actions = step_actions.ACTIONS[operation.kind]
    try:
        while step := operation.next_step():
            operation.begin_step(step)
            with _attempt(operation):
                operation.complete_step(actions[step.name](operation))
    except OperationEnded as end:
        return end
    return None


def _compensate(operation: ClaimedOperation, end: OperationEnded) -> OperationEnded:
    """Compensate the steps that began, last first; return the failure to record."""
    actions = step_actions.COMPENSATIONS.get(operation.kind, {})
    begun = [step for step in operation.plan.steps if step.name in operation.begun]
    steps = [step for step in reversed(begun) if step.name in actions]
    if steps and not operation.end:
        operation.begin_compensation(end)
    try:
        for step in steps:
            operation.begin_compensating(step)
            with _attempt(operation):
                actions[step.name](operation)
                operation.complete_compensation(end)
    except OperationEnded as failure:
        return OperationEnded(end.state, f"{end}; not compensated: {failure}")
    return end


@contextlib.contextmanager
def _attempt(operation: ClaimedOperation) -> Iterator[None]:
    """Log and trace an attempt; record a failure, or an outage, which does not count."""
    began, outcome = time.perf_counter(), "error"
    try:
        with (
            tracing.child_span(f"{operation.kind.lower()} {operation.step.name}", "internal"),
            database.translate_errors(_translate),
        ):
            yield
        outcome = "ok"
    except OperationEnded:
        raise
    except Unavailable as outage:
        outcome = "unavailable"
        operation.postpone_attempt(outage)
    except ProgressError as error:
        operation.fail_attempt(error)
    finally:
        kind, step = operation.kind.lower(), operation.step.name
        logs.write(
            "INFO", f"{kind}: {step}", operation=kind, operation_id=str(operation.id), step=step,
            attempt=operation.attempt, outcome=outcome,
            latency_ms=round(1_000 * (time.perf_counter() - began), 3),
        )  # fmt: skip


def _translate(failure: Failure) -> ProgressError:
    return failure.to_unavailable() or ProgressError(failure.message)


def _log_end(operation: ClaimedOperation, end: OperationEnded | None) -> None:
    kind = operation.kind.lower()
    logs.write(
        "ERROR" if end else "INFO", f"{kind}: {end or 'done'}", operation=kind,
        operation_id=str(operation.id), outcome="error" if end else "ok",
    )  # fmt: skip
