"""What all connections parse in one turn of the event loop: a small part of each, in turn.

So nobody waits until all is parsed that somebody else has sent, on however many connections.
"""

import asyncio
from collections import deque
from weakref import WeakValueDictionary

_TURN_BYTES = 4 << 10  # of sockets: at most 700 frames
_PART_BYTES = 512  # of a connection, while others wait
_MOST_WAITING = 250  # connections that may hold as much unparsed as one read returns
_MOST_BYTES = 16 << 10  # that each other may hold, and that are parsed at once
_TURNS_BETWEEN = 25  # at most, between two documents
_MOST_MESSAGES, _PAUSES_S = 100, 10  # a second, and for how long
_LATE_S = 3  # by which a busy loop may look late


class Turns:
    """The connections of a process that wait for their turn."""

    def __init__(self) -> None:
        self._left, self._waiting = _TURN_BYTES, deque["InTurns"]()
        self._loop: asyncio.AbstractEventLoop | None = None  # which begins the next turn

    def add(self, connection: "InTurns") -> None:
        self._waiting.append(connection)
        self._parse(connection.loop)

    def is_busy(self) -> bool:
        return bool(self._waiting)

    def is_crowded(self) -> bool:
        return len(self._waiting) > _MOST_WAITING

    def _parse(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._begin, loop)
        while self._waiting and self._left > 0:
            connection = self._waiting.popleft()
            part = max(_PART_BYTES, self._left // (1 + len(self._waiting)))
            self._left -= connection.parse_part(part)
            if connection.is_waiting:
                self._waiting.append(connection)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left, self._loop = _TURN_BYTES, None
        if self._waiting:
            self._parse(loop)


class InTurns(asyncio.Protocol):
    """A connection that parses what it receives in its turns, and reads no more until then."""

    turns = Turns()
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unparsed = b""
    is_waiting = False  # for its next turn

    def data_received(self, data: bytes) -> None:
        is_first = not self._unparsed
        self._unparsed += data
        if is_first:
            self.turns.add(self)
        if self._unparsed:
            self.pause()
            if len(self._unparsed) > _MOST_BYTES and self.turns.is_crowded():
                self.transport.abort()

    def parse_part(self, most: int) -> int:
        """Parse a part; return what it has cost. If there is more, the connection is waiting."""
        speed = self.speed()
        part = self._unparsed[: min(most * speed, _MOST_BYTES)]
        self._unparsed = self._unparsed[len(part) :]
        if not self.is_ended():
            self.parse(part)
        if self.is_ended():
            self._unparsed = b""
        self.is_waiting = bool(self._unparsed)
        if self.is_waiting:
            self.pause()
        elif not self.is_ended():
            self.resume()
        return len(part) // speed

    def parse(self, data: bytes) -> None:
        """Parse the next bytes."""
        super().data_received(data)

    def is_ended(self) -> bool:
        """Return whether nothing more is parsed."""
        return self.transport.is_closing()

    def speed(self) -> int:
        """Return how many of the next bytes take as long as one byte of a socket."""
        return 1

    def pause(self) -> None:
        """Read no more until all that was read is parsed."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on, unless somebody else wants to pause."""
        self.transport.resume_reading()


class DocumentTurns:
    """Who reads a new document, which takes 20 ms: one after the other, and of each caller one.

    What has arrived is parsed first, so that what is short is answered between two documents.
    """

    def __init__(self) -> None:
        self._next = asyncio.Lock()
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by caller

    async def wait(self, user_id: str) -> None:
        """Return in the caller's turn, which lasts until the caller awaits again."""
        own = self._own.setdefault(user_id, asyncio.Lock())
        async with own, self._next:
            for turn in range(_TURNS_BETWEEN):
                await asyncio.sleep(0)
                if turn and not InTurns.turns.is_busy():
                    break


class MessageRate:
    """The messages that a caller's sockets have sent in this second of the loop's clock."""

    def __init__(self, now: float) -> None:
        self._second = self._calm = int(now)  # now, and the last one without a pause
        self._count = 0

    def count(self) -> None:
        self._count += 1

    def pause(self, now: float) -> float:
        """Return the seconds until the next message may be read; 0 if it may be read now."""
        passed = int(now) - self._second
        if passed:
            if self._count < _MOST_MESSAGES or passed > _LATE_S:
                self._calm = int(now)
            self._count = max(0, self._count - _MOST_MESSAGES * passed)
            self._second = int(now)
        if self._count < _MOST_MESSAGES:
            return 0.0
        return self._second + 1 - now

    def is_exceeded(self) -> bool:
        """Return whether the caller has gone on for ten seconds of pauses."""
        return self._second - self._calm >= _PAUSES_S
