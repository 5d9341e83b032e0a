"""Computations that concurrent callers share."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from progress.adapters import request_scope
from progress.errors import DeadlineExceeded

MAX_LEAD_S = 1.0

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
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(result)

    def fail(self, error: BaseException) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error if isinstance(error, Exception) else Abandoned())


class SingleFlight(Generic[T]):
    """Computations in progress, by key.

    A computation may fail at its deadline. A caller therefore joins only if the caller's deadline
    is at most a second after the computation's deadline.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[T]] = {}

    async def join(self, key: Hashable, compute: Callable[[], Awaitable[T]], *, since: float) -> T:
        """Join a computation that started after `since`, a monotonic time, or start one."""
        while flight := self.in_progress(key, since):
            with contextlib.suppress(Abandoned):
                return await flight.join()
        return await self.start(key, compute)

    def in_progress(self, key: Hashable, since: float) -> Flight[T] | None:
        """Return the flight that the caller may join, if any."""
        flight = self._flights.get(key)
        if flight is None or flight.started_at < since:
            return None
        earliest = request_scope.current().deadline - MAX_LEAD_S
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
