"""A bound for the memory of all bodies that are arriving, or wait to be decoded.

Over it, the newest body of the sender who has the most is given up, so that nobody fills the memory
with bodies that never end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from progress.errors import InstanceFull

_MOST = 32 << 20  # bytes, as in ingest


class HeldBodies:
    def __init__(self, most: int = _MOST) -> None:
        self._most, self._size = most, 0
        self._held: dict[Holding, None] = {}  # the oldest first

    def hold(self, sender: str) -> "Holding":
        """Hold a body during the block, which raises InstanceFull if the body is given up."""
        return Holding(self, sender)

    def resize(self, holding: "Holding", size: int) -> None:
        """Change the size of a body; give up bodies until all have no more than the bound."""
        self._held[holding] = None
        self._size += size - holding.size
        holding.size = size
        while self._size > self._most:
            sizes: Counter[str] = Counter()
            for each in self._held:
                sizes[each.sender] += each.size
            places = enumerate(self._held)
            _, newest = max(places, key=lambda place: (sizes[place[1].sender], place[0]))
            self.drop(newest)
            newest.give_up(by=holding)

    def drop(self, holding: "Holding") -> None:
        if holding in self._held:
            del self._held[holding]
            self._size -= holding.size


class Holding:
    """The memory of one body."""

    def __init__(self, bodies: HeldBodies, sender: str) -> None:
        self._bodies, self.sender, self.size = bodies, sender, 0
        self._task = asyncio.current_task()
        self._is_given_up = False

    def resize(self, size: int) -> None:
        """Change the size, in bytes; raise InstanceFull if this body is given up for it."""
        self._bodies.resize(self, size)
        if self._is_given_up:
            raise InstanceFull

    def give_up(self, by: "Holding") -> None:
        """End the block, at once or, if another body needs the memory, where it waits."""
        self._is_given_up = True
        if by is not self and self._task:
            self._task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._bodies.drop(self)
        if self._is_given_up and kind is asyncio.CancelledError and self._task:
            self._task.uncancel()
            raise InstanceFull from None


Hold = Callable[[], Holding]  # holds a body of one sender
