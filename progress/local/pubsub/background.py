"""Tasks that go on by themselves: none of them fails, or is dropped half done, unnoticed."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Keeps tasks until they end, and tells of those that fail."""

    def __init__(self, on_fault: Callable[[BaseException], None]) -> None:
        self.on_fault = on_fault
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that nobody awaits; one that is cancelled has not failed."""
        task = self._kept(work)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the work, which goes on to its end though its caller is cancelled."""
        return await asyncio.shield(self._kept(work))

    @contextlib.contextmanager
    def fatal(self, kind: type[Exception]) -> Iterator[None]:
        """Such an error within the block is a fault, whoever catches it."""
        try:
            yield
        except kind as fault:
            self.on_fault(fault)
            raise

    def _kept(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds it weakly
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()):
            self.on_fault(fault)
