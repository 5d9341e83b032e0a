"""Operations, read: what an administrator or a learner started, and how far it is."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from progress.query.read_models import reader


class OperationKind(StrEnum):
    """What an operation does."""

    REBUILD = "REBUILD"
    ERASE_USER = "ERASE_USER"
    EXPORT_USER = "EXPORT_USER"
    ARCHIVE = "ARCHIVE"
    REPLAY_DEAD_LETTERS = "REPLAY_DEAD_LETTERS"
    RUN_BATCH = "RUN_BATCH"


class OperationState(StrEnum):
    """Where an operation or one of its steps is; the last three are its end."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    COMPENSATING = "COMPENSATING"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"


class OperationStep(msgspec.Struct, frozen=True):
    """A step; `error` is of its last attempt."""

    name: str
    state: OperationState
    attempts: int
    error: str | None


class Operation(msgspec.Struct, frozen=True):
    """An operation; `result` is JSON, `progress` from 0 to 1, `version` grows with each change."""

    id: str
    number: int  # in the order of their acceptance
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


async def get_operation(operation_id: UUID) -> Operation | None:
    """One operation; None if there is none of that id."""
    found = await get_some_operations([operation_id])
    return found[0] if found else None


async def get_some_operations(operation_ids: Sequence[UUID]) -> list[Operation]:
    """Those of these that there are."""
    found = await reader.rows("operations/operations", "some", operation_ids=list(operation_ids))
    return [_read(row) for row in found]


async def get_operations(*, first: int, before: int | None = None) -> list[Operation]:
    """The newest operations, of those with a lower number."""
    found = await reader.rows("operations/operations", "page", first=first, before=before)
    return [_read(row) for row in found]


async def get_operation_versions(operation_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The version of each of these that there is, in one question: for who waits for a change."""
    ids = list(operation_ids)
    found = await reader.rows("operations/operations", "versions", operation_ids=ids)
    return {UUID(row["id"]): row["version"] for row in found}


def _read(row: Any) -> Operation:
    values = dict(row)
    steps = msgspec.json.decode(values.pop("steps"))
    return msgspec.convert(values | {"steps": steps}, Operation)
