"""Tasks whose failures are reported, and tasks that continue if their caller is cancelled."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """The tasks that run in the background; each failure is reported."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self.on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that nobody awaits; its cancellation is not a failure."""
        task = self._create_task(work)
        task.add_done_callback(self._report_failure)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work, which runs to its end even if the caller is cancelled."""
        return await asyncio.shield(self._create_task(work))

    @contextlib.contextmanager
    def fatal(self, kind: type[Exception]) -> Iterator[None]:
        """Report each error of this type within the block, even if a caller catches the error."""
        try:
            yield
        except kind as error:
            self.on_error(error)
            raise

    def _create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the event loop holds only weak references to tasks
        task.add_done_callback(self._tasks.discard)
        return task

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.on_error(error)
