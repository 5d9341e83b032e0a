"""The executor runs the steps of an operation and, if the operation fails, compensates them.

An operation resumes at its first incomplete step. If an operation fails, times out or is cancelled
before its point of no return, the executor compensates the steps that began, last first. After the
point of no return, completed steps stay complete, and `retryOperation` resumes at the first
incomplete step.
"""

import time
from uuid import UUID

from progress.adapters.postgres import database
from progress.adapters.telemetry import logs, tracing
from progress.errors import AttemptFailed, OperationEnded, ProgressError, Unavailable
from progress.operations import claim, step_actions, step_connections
from progress.operations.claim import ClaimedOperation
from progress.operations.records import Step
from progress.operations.step_actions import Action, Actions
from progress.projections.notifications import DISABLED, Publisher

_CONNECTION_TIMEOUT_S = 30.0


def run(operation_id: UUID, publisher: Publisher = DISABLED) -> bool:
    """Run the operation until it succeeds or fails.

    Return False if the operation does not exist or had already finished. Raise Unavailable if the
    command must be delivered again.
    """
    with step_connections.open_connection(_CONNECTION_TIMEOUT_S) as connection:
        if operation := claim.claim(connection, operation_id, publisher):
            _run_to_end(operation)
    return operation is not None


def _run_to_end(operation: ClaimedOperation) -> None:
    end = operation.end or _attempt_steps(operation, step_actions.ACTIONS[operation.kind])
    if end and not operation.is_irrevocable:
        operation.begin_compensation(end)
        if failure := _attempt_steps(operation, step_actions.COMPENSATIONS.get(operation.kind, {})):
            end = OperationEnded(end.state, f"{end}; not compensated: {failure}")
    operation.finish(end)
    kind = operation.kind.lower()
    logs.write(
        "ERROR" if end else "INFO", f"{kind}: {end or 'done'}", operation=kind,
        operation_id=str(operation.id), outcome="error" if end else "ok",
    )  # fmt: skip


def _attempt_steps(operation: ClaimedOperation, actions: Actions) -> OperationEnded | None:
    """Attempt each remaining step that has an action; return None on success, else the failure."""
    try:
        with database.translate_errors(claim.translate), operation.resources:
            for step in operation.remaining_steps():
                if step.name in actions:
                    _attempt(operation, step, actions[step.name])
    except OperationEnded as end:
        return end
    return None


def _attempt(operation: ClaimedOperation, step: Step, action: Action) -> None:
    """Run the action once and record how it ended; raise Unavailable to request another attempt."""
    operation.begin_step(step)
    kind, began, outcome = operation.kind.lower(), time.perf_counter(), "error"
    span = tracing.child_span(f"{kind} {step.name}", "internal")
    try:
        with span, database.translate_errors(claim.translate):
            operation.complete_step(action(operation))
        outcome = "ok"
    except OperationEnded:
        raise
    except Unavailable as outage:
        outcome = "unavailable"
        if database.read_failure(outage.__cause__ or outage).is_refusal:
            operation.raise_if_expired()  # the server cancelled a statement that took too long
        operation.fail_step(outage, is_outage=True)
        raise
    except ProgressError as error:
        operation.raise_if_expired()
        operation.fail_step(error)
        raise AttemptFailed(f"{operation.kind}, attempt {operation.attempt}: {error}") from error
    finally:
        logs.write(
            "INFO", f"{kind}: {step.name}", operation=kind, operation_id=str(operation.id),
            step=step.name, attempt=operation.attempt, outcome=outcome,
            latency_ms=round(1_000 * (time.perf_counter() - began), 3),
        )  # fmt: skip
