"""An event loop in which a seed decides each switch between tasks, and time is virtual.

Asyncio's own loop runs ready callbacks in their order. This loop picks one of them, so that it also
finds orders that another library's callbacks or the network would cause. It has no sockets. If no
callback is ready, the time moves on to the next timer. The same seed gives the same schedule.
"""

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

_MAX_STEPS = 50_000  # a schedule has some hundreds; a loop without an end has more
# The seeds with which each property holds: 500 in the ordinary suite, 100,000 in the other one.
CHUNKS = [
    range(500),
    pytest.param(range(500, 100_000), marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)]),
]


class Stuck(Exception):
    """No task can go on, or tasks go on for ever, although the main task has not ended."""


class _Handle:
    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], when: float, context: Any
    ) -> None:
        self._callback, self._args, self._when = callback, args, when
        self._context = context or contextvars.copy_context()
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        if not self._is_cancelled:
            self._context.run(self._callback, *self._args)


class SeededLoop(asyncio.AbstractEventLoop):
    """The loop; `errors` has what asyncio reports, such as a task's error that nobody reads."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.errors: list[dict[str, Any]] = []
        self._now, self.steps = 1_000.0, 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._ready: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    # asyncio's own handles would have to be run by a private method.
    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = _Handle(callback, args, self._now, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        handle = _Handle(callback, args, when, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def run_until_complete(self, future: Any) -> Any:
        """Run until the coroutine returns, and return its result; raise Stuck if it never does."""
        with self._running(), mock.patch("time.monotonic", self.time):
            task = self.create_task(future)
            try:
                while not task.done():
                    self._step()
                return task.result()
            finally:
                self._end_tasks()

    def _end_tasks(self) -> None:
        """Cancel the tasks that are left, as asyncio.run() does."""
        self.steps = 0
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(Stuck):
            while not all(task.done() for task in self._tasks):
                self._step()

    @contextmanager
    def _running(self) -> Iterator[None]:
        asyncio._set_running_loop(self)  # asyncio exports this name for loops
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        while self._timers and (not self._ready or self._timers[0][0] <= self._now):
            self._now, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._ready.append(handle)
        self.steps += 1
        if not self._ready or self.steps > _MAX_STEPS:
            raise Stuck
        self._ready.pop(self.random.randrange(len(self._ready))).run()


def run(seed: int, main: Callable[[random.Random], Coroutine[Any, Any, object]]) -> None:
    """Run the coroutine under the schedule of this seed.

    The coroutine gets a random source of the same seed for what it decides itself.
    """
    loop = SeededLoop(seed)  # type: ignore[abstract] # it has no sockets, signals or processes
    loop.run_until_complete(main(random.Random(f"main {seed}")))
    assert not loop.errors, loop.errors


async def pause(source: random.Random, seconds: float = 0.0) -> None:
    """Let other tasks run, or 1 to 4 quarters of the time pass, so that ends coincide."""
    await asyncio.sleep(source.randrange(5) * seconds / 4)


async def gather(
    source: random.Random,
    *work: Coroutine[Any, Any, object],
    cancelled: float = 0,
    seconds: float = 1,
) -> None:
    """Run tasks to their ends, and cancel this share of them; raise their first error."""
    tasks = [asyncio.create_task(one) for one in work]
    for task in tasks:
        if source.random() < cancelled:
            await pause(source, seconds)
            task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
