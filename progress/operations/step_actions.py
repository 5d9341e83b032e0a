"""The steps of each kind of operation. If a worker dies during a step, another repeats the step."""

from collections.abc import Callable, Mapping

import msgspec

from progress.adapters.postgres.database import Connection
from progress.errors import EventStoreError, RebuildRunning
from progress.operations import archive_steps, erasure_steps, export_steps, step_connections
from progress.operations.claim import ClaimedOperation
from progress.operations.step_connections import (
    connection_for,
    limit_statements,
    parse_arguments,
)
from progress.projections import batch, rebuild, replacement, replay
from progress.projections.replacement import Replacement

Action = Callable[[ClaimedOperation], object]
Actions = Mapping[str, Action]  # maps the name of each step to the step's action

_RETRY_INTERVAL_S = 0.2  # The pause between tries while another run holds the lock.
_FOLD_SHARE = 0.9  # The share of the step `fold` in a rebuild's progress.


class ReplayArguments(msgspec.Struct, frozen=True):
    """The arguments of REPLAY_DEAD_LETTERS."""

    letter_ids: list[int]


def _run_batch(operation: ClaimedOperation) -> object:
    """Run the whole batch job; wait while a scheduled run holds the lock."""
    replayed = swept = 0
    with connection_for(operation) as connection:
        while True:
            report = batch.run(connection, publisher=operation.publisher)
            replayed += report.replayed
            swept += report.swept
            if report.learners is not None:
                break
            operation.wait(_RETRY_INTERVAL_S)
    return {"replayed": replayed, "swept": swept, "learners": report.learners}


def _fold(operation: ClaimedOperation) -> object:
    """Fold every projection in a second schema; wait while the lock of rebuilds is held.

    If a rebuild ends before the swap, it drops the second schema. This step therefore needs no
    compensation.
    """

    def connect() -> Connection:
        return limit_statements(step_connections.connect(), operation)

    def report_progress(folded: int, total: int) -> None:
        operation.report_progress(_FOLD_SHARE * folded / max(total, 1))

    while True:
        opening = replacement.open_replacement(
            connect, operation.publisher, limit_s=sum(step.timeout_s for step in operation.steps)
        )
        try:
            operation.handover = operation.resources.enter_context(opening)
        except RebuildRunning as error:
            operation.wait(_RETRY_INTERVAL_S, error)
        else:
            return {"events": rebuild.fold(connect, on_progress=report_progress)}


def _swap(operation: ClaimedOperation) -> object:
    """Swap the second schema in; return the total number of folded events."""
    # This worker has also run the step "fold", because any worker of a rebuild begins with it.
    second: Replacement = operation.handover
    limit_statements(second.connection, operation)
    return {"events": operation.outcomes["fold"]["events"] + second.swap()}


def _replay(operation: ClaimedOperation) -> object:
    """Replay each dead letter; return the ids of the replayed ones, and why the others failed."""
    ids = parse_arguments(operation, ReplayArguments).letter_ids
    replayed: list[str] = []
    stay: list[dict[str, str]] = []
    with connection_for(operation) as connection:
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


ACTIONS: dict[str, Actions] = {
    "RUN_BATCH": {"batch": _run_batch},
    "REBUILD": {"fold": _fold, "swap": _swap},
    "REPLAY_DEAD_LETTERS": {"replay": _replay},
    "EXPORT_USER": {"write": export_steps.write_user, "offer": export_steps.offer},
    "EXPORT_STATISTICS": {"write": export_steps.write_statistics, "offer": export_steps.offer},
    "ARCHIVE": {
        "range": archive_steps.choose_range,
        "write": archive_steps.write,
        "verify": archive_steps.verify,
        "publish": archive_steps.publish,
        "merge": archive_steps.merge,
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
    "ARCHIVE": {"write": archive_steps.remove_written},
    "EXPORT_USER": {"write": export_steps.delete},
    "EXPORT_STATISTICS": {"write": export_steps.delete},
}
