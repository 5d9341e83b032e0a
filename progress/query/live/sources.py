"""Sources of the live queries: states of learners, groups, operations and milestones."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from progress.operations.records import Operation
from progress.query.read_models.administration import get_operation_versions, get_operations_by_id
from progress.query.read_models.groups import Group, get_group
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import MasteryStats, Streak, UserProgress


class LearnerState(msgspec.Struct, frozen=True):
    """A learner's progress (None if the learner has no events) and streak.

    The state is of one local day of the learner, because the streak may change with the day.
    `tasks` changes with the learner's tasks.
    """

    version: str
    tasks: str | None
    begins_at: datetime
    expires_at: datetime
    progress: UserProgress | None
    streak: Streak

    is_final: ClassVar[bool] = False


class OperationState(msgspec.Struct, frozen=True):
    """The state of an operation; the state is final once the operation has ended."""

    version: str
    operation: Operation

    begins_at: ClassVar[None] = None
    expires_at: ClassVar[None] = None

    @property
    def is_final(self) -> bool:
        return self.operation.finished_at is not None


class _Source:
    pause_s = 0.0

    def __init__(self, reader: Reader) -> None:
        self._reader = reader


class Learners(_Source):
    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        rows = await self._reader.fetch("query/learner_states", "versions", learners=ids)
        return {row["user_id"]: row["version"] for row in rows}

    async def fetch_states(
        self, ids: Sequence[str], *, at: datetime | None = None
    ) -> dict[str, LearnerState]:
        now = at or datetime.now(UTC)
        rows = await self._reader.fetch("query/learner_states", "states", learners=ids, now=now)
        return {row["user_id"]: _learner_state(dict(row)) for row in rows}


class NewestMark(msgspec.Struct, frozen=True):
    """The number of the newest milestone that a learner was told; 0 without milestones."""

    number: int

    begins_at: ClassVar[None] = None
    expires_at: ClassVar[None] = None
    is_final: ClassVar[bool] = False

    @property
    def version(self) -> str:
        return str(self.number)


class MilestoneMarks(_Source):
    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {id_: state.version for id_, state in (await self.fetch_states(ids)).items()}

    async def fetch_states(self, ids: Sequence[str]) -> dict[str, NewestMark]:
        rows = await self._reader.fetch("query/milestone_marks", "newest", learners=ids)
        return {row["user_id"]: NewestMark(row["number"]) for row in rows}


class GroupState(msgspec.Struct, frozen=True):
    """A group's standing; None if the group has no members.

    The state is of one quarter of an hour, because local days end at such times only.
    """

    version: str
    begins_at: datetime
    expires_at: datetime
    group: Group | None

    is_final: ClassVar[bool] = False


_QUARTER = timedelta(minutes=15)


class Groups(_Source):
    pause_s = 0.6  # a group may have thousands of members; the contract allows a second

    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        rows = await self._reader.fetch("query/group_states", "versions", groups=ids)
        return {row["group_id"]: row["version"] for row in rows}

    async def fetch_states(self, ids: Sequence[str]) -> dict[str, GroupState]:
        versions = await self.fetch_versions(ids)  # first: the data must be at least as new
        now = datetime.now(UTC)
        begins_at = now - (now - datetime.min.replace(tzinfo=UTC)) % _QUARTER
        quarter = begins_at, begins_at + _QUARTER
        return {
            id_: GroupState(versions[id_], *quarter, await get_group(self._reader, id_, at=now))
            for id_ in ids
        }


class Operations(_Source):
    async def fetch_versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        versions = await get_operation_versions(self._reader, [UUID(id_) for id_ in ids])
        return {str(id_): str(version) for id_, version in versions.items()}

    async def fetch_states(self, ids: Sequence[str]) -> dict[str, OperationState]:
        operations = await get_operations_by_id(self._reader, [UUID(id_) for id_ in ids])
        return {
            operation.id: OperationState(str(operation.version), operation)
            for operation in operations
        }


def _learner_state(row: dict[str, Any]) -> LearnerState:
    streak = Streak(**{name: row.pop(name) for name in Streak.__struct_fields__})
    counts = {name: row.pop(name) for name in MasteryStats.__struct_fields__}
    names = ("version", "tasks", "begins_at", "expires_at", "has_progress")
    version, tasks, begins_at, expires_at, has_progress = (row.pop(name) for name in names)
    progress = UserProgress(
        **row, current_streak=streak.current, mastery_stats=MasteryStats(**counts)
    )
    shown = progress if has_progress else None
    return LearnerState(version, tasks, begins_at, expires_at, shown, streak)
