"""The end of a connection whose client does not read: of a stream, and of a socket."""

import asyncio

STALL_S = 2.0  # how long a client may leave a full buffer unread


class StallLimit(asyncio.Protocol):
    """A connection that is aborted if its client leaves a full buffer unread.

    The buffer is full when the server must wait before it sends more. A client that reads slowly
    keeps its connection.
    """

    stall_s = STALL_S
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _stall: asyncio.TimerHandle | None = None  # None while the buffer is not full

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.is_limited():
            self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_watch()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._end_watch()

    def is_limited(self) -> bool:
        """Return whether the connection is one that the application keeps open."""
        return True

    def _watch(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(self.stall_s, self._check, size)

    def _check(self, size: int) -> None:
        if self.transport.get_write_buffer_size() < size:
            self._watch()
        else:
            self.transport.abort()

    def _end_watch(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None
