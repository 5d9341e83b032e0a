"""The versions of the read models in the database, which show whether a result is current."""

import asyncio
import time
from datetime import datetime

import msgspec

from progress.query.cache.single_flight import SingleFlight
from progress.query.read_models.reader import Reader

MAX_AGE_S = 1.0
_REFRESH_TIMEOUT_S = 0.05


class LearnerVersion(msgspec.Struct, frozen=True):
    """A learner's version, and the beginning and the end of their local day.

    The cache holds nothing about a learner who is unknown or deleted, not even the version.
    """

    version: int
    is_known: bool
    day_begins: datetime
    day_ends: datetime
    known_at: float  # The monotonic time before the query.

    def is_same_day(self, at: datetime) -> bool:
        return self.day_begins <= at < self.day_ends


class SharedVersions(msgspec.Struct, frozen=True):
    """The versions that all learners share, and the position that the projections have reached."""

    schema: int
    catalogue: int
    batch: int
    position: int
    recorded_at: datetime | None  # when the event at that position was recorded
    known_at: float

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.known_at < MAX_AGE_S


class ProjectedTo(msgspec.Struct, frozen=True):
    """A position of the log; the read models contain all events up to this position."""

    position: str  # A number of 64 bits, as text.
    time: datetime | None  # When the event at this position was recorded.


class DatabaseVersions:
    """A reader of versions in the database; concurrent callers share one statement.

    A method with the argument `since`, a time of the monotonic clock, returns versions that were
    read after this time.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.last: SharedVersions | None = None
        self._learners: SingleFlight[LearnerVersion] = SingleFlight(MAX_AGE_S)
        self._shared: SingleFlight[SharedVersions] = SingleFlight(MAX_AGE_S)

    async def fetch_learner(self, user_id: str, at: datetime, *, since: float) -> LearnerVersion:
        """Return the learner's version and the local day of the time `at`, or raise Unavailable."""

        async def read() -> LearnerVersion:
            known_at = time.monotonic()
            (row,) = await self._reader.fetch(
                "projections/versions", "learner", user_id=user_id, now=at
            )
            known = (row["learner"], row["is_known"], row["day_begins"], row["day_ends"])
            return LearnerVersion(*known, known_at)

        for _ in range(2):  # the first joined read may have started before `since`
            learner = await self._learners.join(user_id, read)
            if learner.known_at >= since and learner.is_same_day(at):
                return learner
        return await read()

    async def fetch_shared_versions(self, *, since: float) -> SharedVersions:
        while self.last is None or self.last.known_at < since:
            self.last = await self._shared.join("", self._read_shared_versions)
        return self.last

    async def projected_to(self) -> ProjectedTo | None:
        """Return a position that the projections have reached; None if no position is known.

        Call this before the data is read, so that the data is never older than the position.
        If the database takes more than 50 ms, the last known position is returned.
        """
        last = self.last
        if last is None or not last.is_fresh:
            since = time.monotonic() - MAX_AGE_S
            refresh = asyncio.create_task(self.fetch_shared_versions(since=since))
            refresh.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({refresh}, timeout=_REFRESH_TIMEOUT_S if last else None)
            last = self.last
        return ProjectedTo(str(last.position), last.recorded_at) if last else None

    async def _read_shared_versions(self) -> SharedVersions:
        known_at = time.monotonic()
        (row,) = await self._reader.fetch("projections/versions", "shared")
        return SharedVersions(**row, known_at=known_at)
