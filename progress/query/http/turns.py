"""The turns of long bodies: nobody waits until all of somebody else's are decoded."""

import asyncio
import contextvars
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Turns:
    """Threads that take turns between senders.

    Next is the body whose sender has sent the fewest bytes, this body included, since no body was
    here. A sender who sends many at once therefore waits for the others, and they do not wait for
    that sender's other bodies.
    """

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "decode")
        self._threads = self._free = threads
        self._sent: Counter[str] = Counter()
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def run(self, sender: str, size: int, function: Callable[[], _T]) -> _T:
        """Run the function, which decodes a body of `size` bytes, in a thread."""
        self._sent[sender] += size
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._sent[sender], next(self._order), turn))
        self._begin_turns()
        try:
            await turn
            return await run_in_thread(self._executor, function)
        finally:
            if not turn.cancelled():
                self._free += 1
                self._begin_turns()

    def _begin_turns(self) -> None:
        while self._free and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # its request was not cancelled
                turn.set_result(None)
                self._free -= 1
        if self._free == self._threads:
            self._sent.clear()


async def run_in_thread(executor: ThreadPoolExecutor, function: Callable[[], _T]) -> _T:
    """Run the function in a thread, in the current trace."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, function)
