"""A pool of asyncpg connections, each lent to one caller at a time.

asyncpg's own pool is not used, because it would double the Python time of a query.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg

from progress.errors import DatabaseUnavailable, InstanceUnavailable

_MAX_WAITING = 200
_CANCEL_TIMEOUT_S = 2.0  # the time limit for cancelling a statement and closing its connection

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Pool:
    """A pool of at most `size` connections, opened on demand, and closed if idle for `idle_s`."""

    def __init__(self, connect: Connect, size: int, idle_s: float) -> None:
        self._connect = connect
        self._idle_s = idle_s
        self._free = size  # connections that may still be opened
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def acquire(self, *, seconds: float) -> asyncpg.Connection:
        """Return a connection; raise TimeoutError if the server does not open one in time.

        Raise InstanceUnavailable if no connection becomes free in time, or if 200 callers already
        wait for one.
        """
        while self._idle:
            connection, since = self._idle.pop()
            if since >= time.monotonic() - self._idle_s and not connection.is_closed():
                return connection
            connection.terminate()
            self._free += 1
        deadline = asyncio.get_running_loop().time() + seconds
        if self._free > 0:
            self._free -= 1
        elif connection := await self._wait_for_release(deadline):
            return connection
        async with asyncio.timeout_at(deadline):
            return await self._open()

    def release(self, connection: asyncpg.Connection) -> None:
        """Take back a connection that is idle or closed."""
        if connection.is_closed() or self._is_closed:
            self.discard(connection)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        now = time.monotonic()
        self._idle.append((connection, now))
        while self._idle[0][1] < now - self._idle_s:
            self._idle.popleft()[0].terminate()
            self._free += 1

    def discard(self, connection: asyncpg.Connection) -> None:
        """Take back a broken connection."""
        connection.terminate()
        self._free_place()

    def cancel(self, connection: asyncpg.Connection) -> None:
        """Take back a connection that is running a statement, and cancel the statement.

        Until the connection is closed, the pool does not replace it by a new connection, because
        the server may still be busy with the statement.
        """
        if connection.is_closed():
            self.discard(connection)
            return
        closing = asyncio.create_task(self._cancel_and_close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """Close the idle connections, and each lent connection once it is released.

        Callers that wait for a connection get DatabaseUnavailable.
        """
        self._is_closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(DatabaseUnavailable("the connections were closed"))
        while self._idle:
            self.discard(self._idle.pop()[0])

    async def _cancel_and_close(self, connection: asyncpg.Connection) -> None:
        try:
            # close() first sends a cancel request for the statement; terminate() would send none.
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                await connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        finally:
            self.discard(connection)

    async def _open(self) -> asyncpg.Connection:
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._free_place)
            connection = await self._connect()
            on_failure.pop_all()
            return connection

    async def _wait_for_release(self, deadline: float) -> asyncpg.Connection | None:
        """Return the next released connection; None if the caller may open one instead."""
        if len(self._waiting) >= _MAX_WAITING:
            raise InstanceUnavailable(f"{_MAX_WAITING} calls already wait for a connection")
        try:
            async with asyncio.timeout_at(deadline):
                return await self._wait()
        except TimeoutError:
            raise InstanceUnavailable("no connection to the database became free") from None

    async def _wait(self) -> asyncpg.Connection | None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())
            raise

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        if connection is None:
            self._free_place()
        else:
            self.release(connection)

    def _free_place(self) -> None:
        """Allow one more connection; the caller that has waited longest may open it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
