"""Of those who want the same at once, one gets it for all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """What is under way, by key. One that began longer than `age` seconds ago is joined no more."""

    def __init__(self, age: float) -> None:
        self._age = age
        self._flights: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def join(self, key: Hashable, begin: Callable[[], Awaitable[T]]) -> T:
        """The result of the one under way, or of the one that begins now."""
        task = self.under_way(key)
        return await asyncio.shield(self.begun(key, begin) if task is None else task)

    def under_way(self, key: Hashable) -> "asyncio.Task[T] | None":
        """The flight to join; its awaiter shields it."""
        began, task = self._flights.get(key, (0.0, None))
        return task if task and time.monotonic() - began < self._age else None

    def begun(self, key: Hashable, begin: Callable[[], Awaitable[T]]) -> "asyncio.Task[T]":
        """A new flight, for those to join who come from now on.

        It goes on though all give up who wait for it.
        """

        async def fly() -> T:
            return await begin()

        task = asyncio.create_task(fly())
        self._flights[key] = (time.monotonic(), task)
        task.add_done_callback(lambda _: self._landed(key, task))
        return task

    def _landed(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        if self._flights.get(key, (0.0, None))[1] is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # it is the affair of those who waited, if any did
