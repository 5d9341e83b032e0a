"""Records of operations: kinds, states and steps, and functions that read operations synchronously.

The query function reads the same rows asynchronously (`progress.query.read_models.administration`).
It imports this module, and must start without pg8000: do not import pg8000 here.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from progress.adapters.postgres.statements import blocks
from progress.event_store import callers

if TYPE_CHECKING:
    from progress.adapters.postgres.database import Connection

ARCHIVE_SUBJECT = "archive"  # the subject of every operation of the kind ARCHIVE

COMMAND_LINE = callers.name_system("command line")
BATCH_JOB = callers.name_system("batch job")
DELETION = callers.name_system("deletion")  # cancels the exports of a learner who is deleted
RETURN = callers.name_system("return")  # cancels the erasure of a learner who is silent no longer
# `sql/operations/erasure_rows.sql` also has `system:erasure`, which cancels exports.

_FILE = "operations/operations"


class OperationKind(StrEnum):
    """The task that an operation performs."""

    REBUILD = "REBUILD"
    ERASE_USER = "ERASE_USER"
    EXPORT_USER = "EXPORT_USER"
    ARCHIVE = "ARCHIVE"
    REPLAY_DEAD_LETTERS = "REPLAY_DEAD_LETTERS"
    RUN_BATCH = "RUN_BATCH"
    EXPORT_STATISTICS = "EXPORT_STATISTICS"


class Step(msgspec.Struct, frozen=True):
    """A step of a plan. An attempt runs in one HTTP request, which Cloud Run ends after an hour."""

    name: str
    timeout_s: float  # Limits one attempt.
    is_final: bool = False  # If true, nothing is undone once this step has begun.


class OperationPlan(msgspec.Struct, frozen=True):
    """The steps of a kind of operation, in order."""

    steps: tuple[Step, ...]
    restarts: bool = False  # If a worker dies, the next worker repeats all steps.
    time_limit_s: float = 86_400.0  # From the acceptance to the end of the operation.


# The kinds that a worker can run.
PLANS = {
    "RUN_BATCH": OperationPlan((Step("batch", 600.0),)),
    "REBUILD": OperationPlan(
        (Step("fold", 3_000.0), Step("swap", 300.0, is_final=True)), restarts=True
    ),
    "REPLAY_DEAD_LETTERS": OperationPlan((Step("replay", 600.0),)),
    "ARCHIVE": OperationPlan(
        (
            Step("range", 60.0),
            Step("write", 3_000.0),
            Step("join", 3_000.0, is_final=True),
        )
    ),
    "EXPORT_USER": OperationPlan((Step("write", 600.0), Step("offer", 60.0, is_final=True))),
    "EXPORT_STATISTICS": OperationPlan(
        (Step("write", 3_000.0), Step("offer", 60.0, is_final=True))
    ),
    "ERASE_USER": OperationPlan(
        (
            Step("forbid", 60.0, is_final=True),
            Step("forget", 300.0),
            Step("redact", 3_000.0),
            Step("files", 3_000.0),
            Step("close", 3_300.0),
        ),
        time_limit_s=14 * 86_400.0,
    ),
}


class OperationState(StrEnum):
    """The state of an operation or of one of its steps; SUCCEEDED, FAILED, TIMED_OUT are final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    COMPENSATING = "COMPENSATING"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"


class OperationStep(msgspec.Struct, frozen=True):
    """A step; `error` is the error of its last attempt."""

    name: str
    state: OperationState
    attempts: int
    error: str | None


class Operation(msgspec.Struct, frozen=True):
    """An operation. `result` is JSON, `progress` is 0 to 1, and each change increases `version`.

    `subject` is the name under which only one operation of its kind runs at a time. `acts_on` is
    for people: a learner's id, a period as in ISO 8601, or the number of dead letters.
    """

    id: str
    number: int  # counts the operations in the order of acceptance
    version: int
    kind: OperationKind
    state: OperationState
    started_by: str
    progress: float
    error: str | None
    result: str | None
    started_at: datetime
    finished_at: datetime | None
    steps: list[OperationStep]
    subject: str | None = None
    requesters: list[str] = []
    acts_on: str | None = None


def from_row(row: Mapping[str, object]) -> Operation:
    """Convert a row of the view `operations.records`. The row's column `steps` is JSON text."""
    steps = msgspec.json.decode(str(row["steps"]))
    return msgspec.convert({**row, "steps": steps}, Operation)


def accept_values(
    kind: OperationKind,
    *,
    caller: str,
    key: str,
    subject: str | None,
    daily_limit: int | None = None,
    **arguments: object,
) -> dict[str, object]:
    """Return the parameters of the SQL block `accept`, which starts an operation.

    `daily_limit` limits how many operations about the subject the caller may start in a day.
    """
    return {
        "kind": kind,
        "started_by": caller,
        "key": key,
        "arguments": msgspec.json.encode(arguments).decode(),
        "steps": [step.name for step in PLANS[kind].steps],
        "subject": subject,
        "time_limit_s": PLANS[kind].time_limit_s,
        "daily_limit": daily_limit,
    }


def accept(connection: "Connection", kind: OperationKind, **values: Any) -> UUID:
    """Start an operation with the values of `accept_values`; return its id.

    If the caller has started an operation with this key, or if an operation of this kind about the
    subject is unfinished, return the id of that operation instead.
    """
    accepted = connection.run(blocks(_FILE)["accept"], **accept_values(kind, **values))
    operation_id: UUID = accepted[0][0]
    return operation_id


def get_operation(connection: "Connection", operation_id: UUID) -> Operation | None:
    """Return one operation, or None if no operation has this id."""
    found = _read(connection, "operations by id", operation_ids=[str(operation_id)])
    return found[0] if found else None


def get_operations(connection: "Connection", *, first: int) -> list[Operation]:
    """Return the newest operations, at most `first` of them."""
    return _read(connection, "newest operations", first=first, before=None)


def list_unclaimed(connection: "Connection") -> list[UUID]:
    """Return the unfinished operations that no worker has claimed, oldest first."""
    return [row[0] for row in connection.run(blocks(_FILE)["list unclaimed"])]


def _read(connection: "Connection", block: str, **values: object) -> list[Operation]:
    rows = connection.run(blocks(_FILE)[block], **values) or []
    names = [column["name"] for column in connection.columns or []]
    return [from_row(dict(zip(names, row, strict=True))) for row in rows]
