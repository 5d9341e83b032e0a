"""The versions as the database has them; see `sql/projections/versions.sql`."""

import time
from datetime import datetime

import msgspec

from progress.query.cache.single_flight import Flights
from progress.query.read_models import reader

YOUNG = 1.0  # seconds


class Learner(msgspec.Struct, frozen=True):
    """A learner's version, and until when their local day is the present one."""

    version: int
    day_ends: datetime
    at: datetime  # the moment on that day
    known_at: float  # on the monotonic clock, before the database was asked

    def is_of_the_day(self, at: datetime) -> bool:
        """Whether that later moment lies on the same day."""
        return self.at <= at < self.day_ends


class Shared(msgspec.Struct, frozen=True):
    """What all learners have in common, and how far the projections have come, at least."""

    schema: int
    catalogue: int
    batch: int
    position: int
    recorded_at: datetime | None  # of the event at that position
    known_at: float

    @property
    def is_young(self) -> bool:
        return time.monotonic() - self.known_at < YOUNG


class Versions:
    """Reads them for an instance; who asks at once is answered at once.

    `since` is the moment that an answer must not be older than, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.last: Shared | None = None
        self._learners: Flights[Learner] = Flights(YOUNG)
        self._shared: Flights[Shared] = Flights(YOUNG)

    async def learner(self, user_id: str, at: datetime, *, since: float) -> Learner:
        """The learner's, on the day that is theirs at that moment; Unavailable."""

        async def read() -> Learner:
            known_at = time.monotonic()
            found = await reader.rows("projections/versions", "learner", user_id=user_id, now=at)
            return Learner(found[0]["learner"], found[0]["day_ends"], at, known_at)

        for _ in range(2):  # the first may have begun before
            learner = await self._learners.join(user_id, read)
            if learner.known_at >= since and learner.is_of_the_day(at):
                return learner
        return await read()

    async def shared(self, *, since: float) -> Shared:
        """What all share; Unavailable."""
        while self.last is None or self.last.known_at < since:
            self.last = await self._shared.join("", _shared)
        return self.last


async def _shared() -> Shared:
    known_at = time.monotonic()
    found = await reader.rows("projections/versions", "shared")
    return Shared(**found[0], known_at=known_at)
