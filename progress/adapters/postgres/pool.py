"""Connections of asyncpg, each lent to one question at a time.

asyncpg's own pool costs a question as much time in Python as the question itself does.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg

_IDLE = 300.0  # seconds after which a connection that nobody needed is ended
_CANCEL_TIMEOUT_S = 2.0  # for the server to be told

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Pool:
    """At most so many connections, made when they are needed."""

    def __init__(self, connect: Connect, most: int) -> None:
        self._connect = connect
        self._left = most
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    async def taken(self, *, seconds: float) -> asyncpg.Connection:
        """A connection, to be given back; TimeoutError if none becomes free or is made by then."""
        while self._idle:
            connection, since = self._idle.pop()
            if since >= time.monotonic() - _IDLE and not connection.is_closed():
                return connection
            connection.terminate()
            self._left += 1
        async with asyncio.timeout(seconds):
            if self._left > 0:
                self._left -= 1
                return await self._made()
            return await self._handed() or await self._made()

    def give(self, connection: asyncpg.Connection) -> None:
        """Take one back that is as it was, or was closed."""
        if connection.is_closed():
            self._vacate()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        now = time.monotonic()
        self._idle.append((connection, now))
        while self._idle[0][1] < now - _IDLE:
            self._idle.popleft()[0].terminate()
            self._left += 1

    def end(self, connection: asyncpg.Connection) -> None:
        """Take one back that is broken."""
        connection.terminate()
        self._vacate()

    def cancel(self, connection: asyncpg.Connection) -> None:
        """Take one back that is in the middle of something; the server is told to stop it.

        Its place becomes free when it is closed: until then the server may be busy with it.
        """
        if connection.is_closed():
            self.end(connection)
            return
        closing = asyncio.create_task(self._close_cancelled(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """End those that are not lent."""
        while self._idle:
            self.end(self._idle.pop()[0])

    async def _close_cancelled(self, connection: asyncpg.Connection) -> None:
        try:
            # asyncpg sends the request to cancel first. terminate() would drop it.
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                await connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
        finally:
            self._vacate()

    async def _made(self) -> asyncpg.Connection:
        with contextlib.ExitStack() as undone:
            undone.callback(self._vacate)
            connection = await self._connect()
            undone.pop_all()
            return connection

    async def _handed(self) -> asyncpg.Connection | None:
        """The next that is given back; None where one may be made instead."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())
            raise

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        if connection is None:
            self._vacate()
        else:
            self.give(connection)

    def _vacate(self) -> None:
        """Another may be made: by who waits longest, else by the next who comes."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._left += 1
