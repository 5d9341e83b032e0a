"""How learners stand, many at once: for those who watch them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from progress import reading
from progress.readmodels.rows import MasteryStats, Streak, UserProgress


class Standing(msgspec.Struct, frozen=True):
    """A learner's progress, None for one without events, and streak.

    `until` is the end of the learner's local day: the streak may then be another. `version`
    is another one after each change.
    """

    version: str
    until: datetime
    progress: UserProgress | None
    streak: Streak


class Standings:
    """Where standings are read; both raise Unavailable if the database does not answer."""

    channel = "changed:learner:"

    async def versions(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The version of each learner."""
        found = await reading.rows("standings", "versions", learners=ids)
        return {row["user_id"]: row["version"] for row in found}

    async def states(
        self, ids: Sequence[str], *, at: datetime | None = None
    ) -> dict[str, Standing]:
        """How each learner stands, at the moment, or now."""
        moment = at or datetime.now(UTC)
        found = await reading.rows("standings", "standings", learners=ids, now=moment)
        return {row["user_id"]: _standing(dict(row)) for row in found}


def _standing(row: dict[str, Any]) -> Standing:
    streak = Streak(**{name: row.pop(name) for name in Streak.__struct_fields__})
    counts = {name: row.pop(name) for name in MasteryStats.__struct_fields__}
    version, until, has_progress = (row.pop(n) for n in ("version", "until", "has_progress"))
    progress = UserProgress(
        **row, current_streak=streak.current, mastery_stats=MasteryStats(**counts)
    )
    return Standing(version, until, progress if has_progress else None, streak)
