"""The versions of learners and of shared data; `sql/projections/versions.sql` defines them.

Single flight: concurrent callers with the same key share one computation, such as the read of a
version. The computation runs in the task of the caller that starts it. A separate, shielded task
would add 12 % to the time of a computation that no other caller joins.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from progress.adapters import request_scope
from progress.errors import DeadlineExceeded
from progress.query.read_models.reader import Reader

T = TypeVar("T")


class Abandoned(Exception):
    """The caller that was computing the result was cancelled, so another caller must compute it."""


class Flight(Generic[T]):
    """A computation in progress, with the deadline of the request that started it."""

    __slots__ = ("_waiters", "deadline", "started_at")

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.deadline = request_scope.current().deadline
        self._waiters: list[asyncio.Future[T]] = []

    async def join(self) -> T:
        """Wait for the result and return it.

        Raise Abandoned if the computation was cancelled, and DeadlineExceeded at the deadline of
        the joining request.
        """
        scope = request_scope.current()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if scope.deadline >= self.deadline:
            return await waiter
        try:
            async with asyncio.timeout(scope.remaining()):
                return await waiter
        except TimeoutError:
            raise DeadlineExceeded("a shared computation did not end before the deadline") from None

    def resolve(self, result: T) -> None:
        """Pass the result to the callers that joined."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Pass the error to the callers that joined."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error if isinstance(error, Exception) else Abandoned())


class SingleFlight(Generic[T]):
    """Computations in progress, by key.

    A caller does not join a computation that started more than `max_age` seconds ago. A computation
    may fail at its deadline. A caller therefore joins only if the caller's deadline is at most
    `max_age` seconds after the computation's deadline.
    """

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._flights: dict[Hashable, Flight[T]] = {}

    async def join(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the computation in progress, or of a new one."""
        while flight := self.in_progress(key):
            with contextlib.suppress(Abandoned):
                return await flight.join()
        return await self.start(key, compute)

    def in_progress(self, key: Hashable) -> Flight[T] | None:
        """Return the flight that the caller may join, if any."""
        flight = self._flights.get(key)
        if flight is None or time.monotonic() - flight.started_at >= self._max_age:
            return None
        earliest = request_scope.current().deadline - self._max_age
        return flight if flight.deadline >= earliest else None

    async def start(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Compute the result in a new flight, which other callers may join."""
        flight: Flight[T] = Flight()
        self._flights[key] = flight
        try:
            result = await compute()
        except BaseException as error:
            self._remove(key, flight)
            flight.fail(error)
            raise
        self._remove(key, flight)
        flight.resolve(result)
        return result

    def _remove(self, key: Hashable, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


MAX_AGE_S = 1.0
_REFRESH_TIMEOUT_S = 0.05


class LearnerVersion(msgspec.Struct, frozen=True):
    """A learner's version, and the end of their local day.

    The cache holds nothing about a learner who is unknown or deleted, not even the version.
    """

    version: int
    is_known: bool
    day_ends: datetime
    at: datetime  # A time on that day.
    known_at: float  # The monotonic time before the query.

    def is_same_day(self, at: datetime) -> bool:
        """Return whether the time is between `self.at` and the end of that local day."""
        return self.at <= at < self.day_ends


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
            return LearnerVersion(row["learner"], row["is_known"], row["day_ends"], at, known_at)

        for _ in range(2):  # the first joined read may have started before `since`
            learner = await self._learners.join(user_id, read)
            if learner.known_at >= since and learner.is_same_day(at):
                return learner
        return await read()

    async def fetch_shared_versions(self, *, since: float) -> SharedVersions:
        """Return the shared versions, or raise Unavailable."""
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
