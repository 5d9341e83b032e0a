"""The bodies of requests that are arriving, or wait to be decoded: their memory and their turns.

Nobody fills the memory with bodies that never end, and nobody waits until all of somebody else's
are decoded.
"""

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import PriorityQueue
from typing import Any, TypeVar

from progress.errors import InstanceFull

_MOST = 32 << 20  # bytes, as in ingest

_T = TypeVar("_T")
Resize = Callable[[int], None]  # changes the size of a held body, in bytes


class HeldBodies:
    """Bodies that have at most `most` bytes in all, and the thread that decodes the long ones.

    Two threads take as long in all, and others wait three times as long for the interpreter.

    Over the bound, the newest body of the sender who has the most is given up. Next is decoded the
    body whose sender has sent the fewest bytes, this body included, since none was waiting.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most, self._size = most, 0
        self._held: dict[asyncio.Timeout, tuple[str, int]] = {}  # senders and sizes, oldest first
        self._executor = ThreadPoolExecutor(1, "decode")
        self._sent: Counter[str] = Counter()
        self._order = itertools.count()
        self._waiting: PriorityQueue[Any] = PriorityQueue()

    @contextlib.asynccontextmanager
    async def hold(self, sender: str) -> AsyncIterator[Resize]:
        """Hold a body during the block, which raises InstanceFull if the body is given up."""
        try:
            async with asyncio.timeout(None) as timeout:
                self._held[timeout] = sender, 0
                try:
                    yield functools.partial(self._resize, timeout)
                finally:
                    self._drop(timeout)
        except TimeoutError:
            raise InstanceFull from None

    async def decode(self, sender: str, size: int, function: Callable[[], _T]) -> _T:
        """Run the function, which decodes a body of `size` bytes, in the thread."""
        if self._waiting.empty():
            self._sent.clear()
        self._sent[sender] += size
        decoded: Future[_T] = Future()
        self._waiting.put((self._sent[sender], next(self._order), decoded, function))
        self._executor.submit(self._decode_next)
        return await asyncio.wrap_future(decoded)

    def _decode_next(self) -> None:
        _, _, decoded, function = self._waiting.get()
        if decoded.set_running_or_notify_cancel():
            try:
                decoded.set_result(function())
            except Exception as error:  # noqa: BLE001 - `decode` raises it
                decoded.set_exception(error)

    def _resize(self, timeout: asyncio.Timeout, size: int) -> None:
        if timeout not in self._held:
            return  # it is given up
        sender, former = self._held[timeout]
        self._held[timeout] = sender, size
        self._size += size - former
        if self._size > self._most:
            self._give_up(timeout)

    def _give_up(self, timeout: asyncio.Timeout) -> None:
        """Give up bodies until all have no more than the bound: this one, or where they wait."""
        while self._size > self._most:
            sizes: Counter[str] = Counter()
            for holder, held in self._held.values():
                sizes[holder] += held
            newest = max(reversed(self._held), key=lambda each: sizes[self._held[each][0]])
            self._drop(newest)
            if newest is timeout:
                raise InstanceFull
            newest.reschedule(0)

    def _drop(self, timeout: asyncio.Timeout) -> None:
        self._size -= self._held.pop(timeout, ("", 0))[1]
