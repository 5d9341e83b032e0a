"""The bodies of requests that are arriving, or wait to be decoded: their memory and their turns.

Nobody fills the memory with bodies that never end, and nobody waits until all of somebody else's
are decoded.
"""

import asyncio
import contextlib
import contextvars
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import PriorityQueue
from typing import Any, TypeVar

from progress.errors import InstanceFull

_MOST = 32 << 20  # bytes, as in ingest
_THREADS = 1  # two take as long in all, and others wait three times as long for the interpreter

_T = TypeVar("_T")
Resize = Callable[[int], None]  # changes the size of a body, in bytes
Hold = Callable[[], AbstractContextManager[Resize]]  # holds a body of one sender


@dataclass(eq=False)
class _Body:
    sender: str
    task: asyncio.Task[Any] | None
    size: int = 0
    is_given_up: bool = False


class HeldBodies:
    """Bodies that have at most `most` bytes in all, and the threads that decode the long ones.

    Over the bound, the newest body of the sender who has the most is given up. Next is decoded the
    body whose sender has sent the fewest bytes, this body included, since none was waiting.
    """

    def __init__(self, most: int = _MOST, threads: int = _THREADS) -> None:
        self._most, self._size = most, 0
        self._held: dict[_Body, None] = {}  # the oldest first
        self._executor = ThreadPoolExecutor(threads, "decode")
        self._sent: Counter[str] = Counter()
        self._order = itertools.count()
        self._waiting: PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]]
        self._waiting = PriorityQueue()

    @contextlib.contextmanager
    def hold(self, sender: str) -> Iterator[Resize]:
        """Hold a body during the block, which raises InstanceFull if the body is given up."""
        body = _Body(sender, asyncio.current_task())
        try:
            yield functools.partial(self._resize, body)
        except asyncio.CancelledError:
            if not (body.is_given_up and body.task):
                raise
            body.task.uncancel()
            raise InstanceFull from None
        finally:
            self._drop(body)

    async def decode(self, sender: str, size: int, function: Callable[[], _T]) -> _T:
        """Run the function, which decodes a body of `size` bytes, in a thread."""
        if self._waiting.empty():
            self._sent.clear()
        self._sent[sender] += size
        decoded: Future[_T] = Future()
        run = functools.partial(contextvars.copy_context().run, function)
        self._waiting.put((self._sent[sender], next(self._order), decoded, run))
        self._executor.submit(self._decode_next)
        return await asyncio.wrap_future(decoded)

    def _decode_next(self) -> None:
        _, _, decoded, run = self._waiting.get()
        if decoded.set_running_or_notify_cancel():
            try:
                decoded.set_result(run())
            except Exception as error:  # noqa: BLE001 - `decode` raises it
                decoded.set_exception(error)

    def _resize(self, body: _Body, size: int) -> None:
        """Give up bodies until all have no more than the bound: this one, or where they wait."""
        self._held[body] = None
        self._size += size - body.size
        body.size = size
        while self._size > self._most:
            sizes: Counter[str] = Counter()
            for each in self._held:
                sizes[each.sender] += each.size
            newest = max(reversed(self._held), key=lambda each: sizes[each.sender])
            self._drop(newest)
            newest.is_given_up = True
            if newest is not body and newest.task:
                newest.task.cancel()
        if body.is_given_up:
            raise InstanceFull

    def _drop(self, body: _Body) -> None:
        self._held.pop(body, None)
        self._size -= body.size
        body.size = 0
