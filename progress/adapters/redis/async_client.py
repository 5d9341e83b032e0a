"""An asynchronous Redis client: the commands of many requests share one connection.

A round trip has a timeout, so requests do not wait long for a Redis server that is down or hangs.
The client closes a connection that exceeds the timeout, and opens no new connection for one second.
Then it connects in the background. Requests continue without Redis until the connection is open.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from progress.adapters.redis import resp
from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import tracing
from progress.errors import RedisUnavailable

_TIMEOUT_S = 0.04  # the time limit of a round trip

# If a reply is overdue, the client checks again after this time before it closes the connection.
# The reply may have arrived while this process was suspended.
_RECHECK_S = 0.005
_HANDSHAKE_TIMEOUT_S = 0.02  # A request waits this long for the first connection.
_CONNECT_TIMEOUT_S = 1.0  # The time limit for connecting in the background.
_BACK_OFF_S = 1.0
_REDIS = {"db.system.name": "redis"}


class Client:
    """A client that belongs to the event loop that first uses it.

    `timeout_s`, if given, replaces the timeouts of the first connection and of a round trip.
    """

    def __init__(self, url: str, *, timeout_s: float | None = None) -> None:
        self._address = parse_url(url)
        self._handshake_timeout_s = timeout_s or _HANDSHAKE_TIMEOUT_S
        self._timeout_s = timeout_s or _TIMEOUT_S
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_trusted = True  # if false, requests do not wait for the connection
        self._wait_until = 0.0
        self._back_off_until = 0.0

    async def run(self, *commands: Command) -> list[Reply]:
        """Return the replies to the commands, in order, after one round trip.

        Raise RedisUnavailable if there are no replies. Redis runs the commands that were sent, even
        if the caller gives up.
        """
        if not tracing.is_exporting():
            return await self._run(commands)
        with tracing.child_span("redis", "client", _REDIS) as span:
            span.set_attribute("db.operation.name", resp.operation_name(commands))
            return await self._run(commands)

    def send(self, *commands: Command) -> None:
        """Send the commands and ignore their replies; without a connection, do nothing."""
        if self._connection and not self._connection.is_lost:
            self._connection.send(commands)

    async def close(self) -> None:
        """Close the connection once Redis has run all commands that were sent."""
        if self._connecting:
            self._connecting.cancel()
        if self._connection and not self._connection.is_lost:
            with contextlib.suppress(RedisUnavailable):
                await self._connection.run([("PING",)])
        if self._connection:
            self._connection.close("the client was closed")

    async def _run(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self._connection
        if connection is None or connection.is_lost:
            connection = await self._wait_for_connection()
        try:
            return await connection.run(commands)
        except RedisUnavailable:
            if connection is self._connection:
                self._back_off()
            raise

    async def _wait_for_connection(self) -> "_Connection":
        now = asyncio.get_running_loop().time()
        if now < self._back_off_until:
            raise RedisUnavailable("Redis failed less than a second ago")
        if self._connecting is None:
            self._connection = None
            self._wait_until = now + (self._handshake_timeout_s if self._is_trusted else 0)
            self._connecting = asyncio.create_task(self._connect())
        if now < self._wait_until:
            await asyncio.wait({self._connecting}, timeout=self._wait_until - now)
        if self._connection is None or self._connection.is_lost:
            raise RedisUnavailable("there is no connection to Redis yet")
        return self._connection

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(max(_CONNECT_TIMEOUT_S, self._timeout_s)):
                connection = await self._open()
            try:
                await self._shake_hands(connection)
                self._connection, self._is_trusted = connection, True
            finally:
                if connection is not self._connection:
                    connection.close("the handshake failed")
        except (OSError, RedisUnavailable):
            self._back_off()
        finally:
            self._connecting = None

    async def _shake_hands(self, connection: "_Connection") -> None:
        for reply in await connection.run(self._address.handshake):
            if isinstance(reply, ErrorReply):
                raise RedisUnavailable(f"Redis rejects the connection: {reply.text}")

    async def _open(self) -> "_Connection":
        loop, address = asyncio.get_running_loop(), self._address
        create = partial(_Connection, self._timeout_s)
        if address.path is not None:
            return (await loop.create_unix_connection(create, address.path))[1]
        opened = await loop.create_connection(create, address.host, address.port, ssl=address.tls)
        return opened[1]

    def _back_off(self) -> None:
        self._connection, self._is_trusted = None, False
        self._back_off_until = asyncio.get_running_loop().time() + _BACK_OFF_S


@dataclass
class _Batch:
    """The commands of one call, and the replies that have arrived."""

    count: int
    deadline: float
    done: asyncio.Future[list[Reply]] | None  # None if no caller waits
    replies: list[Reply] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One connection. Replies arrive in the order of the commands."""

    def __init__(self, timeout_s: float) -> None:
        self.is_lost = False
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._batches: deque[_Batch] = deque()
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._unwritten: list[bytes] = []
        self._next_write: asyncio.Handle | None = None  # one write sends the commands of many calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transport is not a subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection was closed: {exc}")

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        if self.is_lost:
            raise RedisUnavailable("the connection was closed")
        done: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._enqueue(commands, done)
        return await done

    def send(self, commands: Sequence[Command]) -> None:
        self._enqueue(commands, None)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        try:
            while at < len(data) and self._batches:
                reply, at = resp.read(data, at)
                self._add_reply(reply)
        except resp.Incomplete:
            pass
        except (ValueError, RecursionError) as error:
            self.close(f"the reply is not RESP2: {error}")
        if at < len(data) and not self._batches:
            self.close("Redis sent a reply without a command")
        self._rest = data[at:]

    def _enqueue(
        self, commands: Sequence[Command], done: asyncio.Future[list[Reply]] | None
    ) -> None:
        deadline = self._loop.time() + self._timeout_s
        self._batches.append(_Batch(len(commands), deadline, done))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._watchdog)
        self._unwritten.append(resp.encode(commands))
        if self._next_write is None:
            self._next_write = self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._next_write = None
        self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def close(self, reason: str) -> None:
        """Close the connection immediately; pending calls fail with RedisUnavailable."""
        self.is_lost = True
        for handle in (self._timer, self._next_write):
            if handle:
                handle.cancel()
        self._transport.abort()
        while self._batches:
            done = self._batches.popleft().done
            if done and not done.done():
                done.set_exception(RedisUnavailable(f"Redis is unavailable: {reason}"))

    def _add_reply(self, reply: Reply) -> None:
        batch = self._batches[0]
        batch.replies.append(reply)
        if len(batch.replies) == batch.count:
            self._batches.popleft()
            if batch.done and not batch.done.done():
                batch.done.set_result(batch.replies)

    def _watchdog(self, overdue: _Batch | None = None) -> None:
        """Close the connection if its oldest batch is still overdue at a second check."""
        self._timer = None
        if not self._batches:
            return
        oldest = self._batches[0]
        if oldest is overdue:
            self.close("the reply took too long")
        elif oldest.deadline <= self._loop.time():
            self._timer = self._loop.call_later(_RECHECK_S, self._watchdog, oldest)
        else:
            self._timer = self._loop.call_at(oldest.deadline, self._watchdog)
