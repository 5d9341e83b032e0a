"""Single flight: concurrent callers with the same key share one computation.

The caller that begins it computes in its own task. A task of the computation's own, and the shield
around it, cost a caller that nobody joins 12 % of its time.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from progress.adapters import request_scope
from progress.errors import Unavailable

T = TypeVar("T")


class GaveUp(Exception):
    """The caller that computed was cancelled: another has to compute."""


class Flight(Generic[T]):
    """One computation under way, within the time of the request that began it."""

    __slots__ = ("_waiting", "began", "deadline")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.deadline = request_scope.current().deadline
        self._waiting: list[asyncio.Future[T]] = []

    async def join(self) -> T:
        """The result, once it is there; GaveUp if nobody computes it any more.

        Unavailable where the request that joins must be answered before.
        """
        scope = request_scope.current()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if scope.deadline >= self.deadline:
            return await waiter
        try:
            async with asyncio.timeout(scope.remaining()):
                return await waiter
        except TimeoutError:
            raise Unavailable("another request has not found the answer in time") from None

    def land(self, result: T) -> None:
        """Hand the result to those who joined."""
        for each in self._waiting:
            if not each.done():
                each.set_result(result)

    def fail(self, why: BaseException) -> None:
        """Tell those who joined that there is no result."""
        for each in self._waiting:
            if not each.done():
                each.set_exception(why if isinstance(why, Exception) else GaveUp())


class Flights(Generic[T]):
    """Computations under way, by key. One older than `age` seconds is not joined any more.

    Nor is one whose deadline is so much earlier than that of the request that would join it: it
    may fail where that request has time. So nobody gives up more than `age` seconds too early.
    """

    def __init__(self, age: float) -> None:
        self._age = age
        self._flights: dict[Hashable, Flight[T]] = {}

    async def join(self, key: Hashable, begin: Callable[[], Awaitable[T]]) -> T:
        """The result of the flight under way, or of one that begins now."""
        while flight := self.under_way(key):
            with contextlib.suppress(GaveUp):
                return await flight.join()
        return await self.begin(key, begin)

    def under_way(self, key: Hashable) -> Flight[T] | None:
        """The flight to join."""
        flight = self._flights.get(key)
        if flight is None or time.monotonic() - flight.began >= self._age:
            return None
        return flight if flight.deadline >= request_scope.current().deadline - self._age else None

    async def begin(self, key: Hashable, begin: Callable[[], Awaitable[T]]) -> T:
        """The result of a new flight, which callers may join from now on."""
        flight: Flight[T] = Flight()
        self._flights[key] = flight
        try:
            result = await begin()
        except BaseException as why:
            self._remove(key, flight)
            flight.fail(why)
            raise
        self._remove(key, flight)
        flight.land(result)
        return result

    def _remove(self, key: Hashable, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
