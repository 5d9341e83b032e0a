"""The runner runs the steps of an operation and, if the operation fails, compensates them.

An operation resumes at its first incomplete step. If an operation fails, times out or is cancelled
before its point of no return, the runner compensates the steps that began, last first. After the
point of no return, completed steps stay complete, and `retryOperation` resumes at the first
incomplete step.
"""

import time
from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs, tracing
from progress.errors import AttemptFailed, OperationEnded, ProgressError, Unavailable
from progress.event_store import publication
from progress.operations import (
    archive_steps,
    claimed_operations,
    erasure_steps,
    export_statistics,
    export_steps,
    export_user,
)
from progress.operations.claimed_operations import (
    ClaimedOperation,
    connection_for,
    limit_statements,
    parse_arguments,
)
from progress.operations.records import Step
from progress.projections import batch, rebuild, replacement, replay
from progress.projections.projector import SHARDS

Action = Callable[[ClaimedOperation], object]
Actions = Mapping[str, Action]  # maps the name of each step to the step's action

_FOLD_SHARE = 0.9  # The share of the step `fold` in a rebuild's progress.
_CONNECTION_TIMEOUT_S = 30.0


def run(operation_id: UUID, *, before: str | None = None) -> bool:
    """Run the operation until it succeeds or fails or, if given, up to the step `before`.

    Return False if the operation does not exist or had already finished. Raise Unavailable if the
    command must be delivered again.
    """
    with claimed_operations.open_connection(_CONNECTION_TIMEOUT_S) as connection:
        if operation := claimed_operations.claim(connection, operation_id):
            _run_to_end(operation, before)
    return operation is not None


def _run_to_end(operation: ClaimedOperation, before: str | None) -> None:
    end = operation.end or _attempt_steps(operation, ACTIONS[operation.kind], before)
    if not end and operation.remaining_steps():
        return  # they begin with the step `before`
    if end and not operation.is_irrevocable:
        operation.begin_compensation(end)
        if failure := _attempt_steps(operation, COMPENSATIONS.get(operation.kind, {})):
            end = OperationEnded(end.state, f"{end}; not compensated: {failure}")
    operation.finish(end)
    kind = operation.kind.lower()
    logs.write(
        "ERROR" if end and not end.cancelled_by else "INFO", f"{kind}: {end or 'done'}",
        operation=kind, operation_id=str(operation.id), outcome="error" if end else "ok",
    )  # fmt: skip


def _attempt_steps(
    operation: ClaimedOperation, actions: Actions, before: str | None = None
) -> OperationEnded | None:
    """Attempt the remaining steps that have an action, up to `before`; return the failure."""
    try:
        with database.translate_errors(claimed_operations.translate), operation.resources:
            for step in operation.remaining_steps():
                if step.name == before:
                    break
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
        with span, database.translate_errors(claimed_operations.translate):
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


class ReplayArguments(msgspec.Struct, frozen=True):
    """The arguments of REPLAY_DEAD_LETTERS."""

    letter_ids: list[int]


def _run_batch(operation: ClaimedOperation) -> object:
    """Run the whole batch job; wait while a scheduled run holds the lock."""
    replayed = swept = 0
    with connection_for(operation) as connection:
        while True:
            report = batch.run(connection)
            replayed += report.replayed
            swept += report.swept
            if report.learners is not None:
                break
            operation.wait()
        publication.publish_shards(connection, SHARDS, settings.current())
    return {"replayed": replayed, "swept": swept, "learners": report.learners}


def _fold(operation: ClaimedOperation) -> object:
    """Fold every projection in a second schema; wait while the lock of rebuilds is held.

    A rebuild that ends before the swap drops this schema, so the step needs no compensation.
    """

    def connect() -> Connection:
        return limit_statements(claimed_operations.connect(), operation)

    def report_progress(folded: int, total: int) -> None:
        operation.report_progress(_FOLD_SHARE * folded / max(total, 1))

    def open_replacement() -> Connection:
        limit_s = sum(step.timeout_s for step in operation.steps)
        opening = replacement.open_replacement(connect, limit_s=limit_s)
        return operation.resources.enter_context(opening)

    operation.handover = operation.call_without_rebuild(open_replacement)
    return {"events": rebuild.fold(connect, on_progress=report_progress)}


def _swap(operation: ClaimedOperation) -> object:
    """Swap the second schema in; return the total number of folded events."""
    # This worker has also run the step "fold", because any worker of a rebuild begins with it.
    second = limit_statements(operation.handover, operation)
    return {"events": operation.outcomes["fold"]["events"] + replacement.swap(second)}


def _replay(operation: ClaimedOperation) -> object:
    """Replay each dead letter; return the ids of the replayed ones, and why the others failed."""
    ids = parse_arguments(operation, ReplayArguments).letter_ids
    replayed: list[str] = []
    stay: list[dict[str, str]] = []
    with connection_for(operation) as connection:
        reasons = replay.replay_all(connection, ids)
        for done, (letter_id, reason) in enumerate(zip(ids, reasons, strict=True), start=1):
            operation.report_progress(done / len(ids))
            if reason is None:
                replayed.append(str(letter_id))
            else:
                stay.append({"id": str(letter_id), "reason": reason})
    return {"replayed": replayed, "stay": stay}


ACTIONS: dict[str, Actions] = {
    "RUN_BATCH": {"batch": _run_batch},
    "REBUILD": {"fold": _fold, "swap": _swap},
    "REPLAY_DEAD_LETTERS": {"replay": _replay},
    "EXPORT_USER": {"write": export_user.write_user, "offer": export_steps.offer},
    "EXPORT_STATISTICS": {"write": export_statistics.write_statistics, "offer": export_steps.offer},
    "ARCHIVE": {
        "range": archive_steps.choose_range,
        "write": archive_steps.write,
        "join": archive_steps.join,
    },
    "ERASE_USER": {
        "forbid": erasure_steps.forbid,
        "forget": erasure_steps.forget,
        "redact": erasure_steps.redact,
        "files": erasure_steps.files,
        "close": erasure_steps.close,
    },
}

COMPENSATIONS: dict[str, Actions] = {
    "EXPORT_USER": {"write": export_steps.delete},
    "EXPORT_STATISTICS": {"write": export_steps.delete},
}
