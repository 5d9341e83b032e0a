"""How things stand that are watched, many at once, with the versions that say when they changed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from progress.adapters.redis import channels
from progress.operations.records import Operation
from progress.query.read_models import reader
from progress.query.read_models.operations import (
    get_operation_versions,
    get_some_operations,
)
from progress.query.read_models.rows import MasteryStats, Streak, UserProgress


class Standing(msgspec.Struct, frozen=True):
    """A learner's progress, None for one without events, and streak.

    `until` is the end of the learner's local day: the streak may then be another. `version`
    is another one after each change.
    """

    version: str
    until: datetime
    progress: UserProgress | None
    streak: Streak

    is_last: ClassVar[bool] = False


class OperationStanding(msgspec.Struct, frozen=True):
    """How far an operation is. It stays as it is in the end."""

    version: str
    operation: Operation

    until: ClassVar[None] = None

    @property
    def is_last(self) -> bool:
        """Whether the operation has ended."""
        return self.operation.finished_at is not None


class Standings:
    """Where standings are read; both raise Unavailable if the database does not answer."""

    channel = channels.LEARNER

    async def versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The version of each learner."""
        found = await reader.rows("query/standings", "versions", learners=ids)
        return {row["user_id"]: row["version"] for row in found}

    async def states(
        self, ids: Sequence[str], *, at: datetime | None = None
    ) -> dict[str, Standing]:
        """How each learner stands, at the moment, or now."""
        moment = at or datetime.now(UTC)
        found = await reader.rows("query/standings", "standings", learners=ids, now=moment)
        return {row["user_id"]: _standing(dict(row)) for row in found}


class Operations:
    """Where operations are read; both raise Unavailable if the database does not answer."""

    channel = channels.OPERATION

    async def versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The version of each operation that there is."""
        found = await get_operation_versions([UUID(each) for each in ids])
        return {str(name): str(version) for name, version in found.items()}

    async def states(self, ids: Sequence[str]) -> dict[str, OperationStanding]:
        """How far each operation is that there is."""
        found = await get_some_operations([UUID(each) for each in ids])
        return {each.id: OperationStanding(str(each.version), each) for each in found}


def _standing(row: dict[str, Any]) -> Standing:
    streak = Streak(**{name: row.pop(name) for name in Streak.__struct_fields__})
    counts = {name: row.pop(name) for name in MasteryStats.__struct_fields__}
    version, until, has_progress = (row.pop(n) for n in ("version", "until", "has_progress"))
    progress = UserProgress(
        **row, current_streak=streak.current, mastery_stats=MasteryStats(**counts)
    )
    return Standing(version, until, progress if has_progress else None, streak)
