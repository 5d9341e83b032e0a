"""An asynchronous Redis client: the commands of many requests share one connection of redis-py.

A round trip has a timeout, so requests do not wait long for a Redis server that is down or hangs.
The client closes a connection that exceeds the timeout, and opens no new connection for one second.
Then it connects in the background. Requests continue without Redis until the connection is open.

Import this module at first use: importing redis-py takes 150 ms, because it imports OpenTelemetry.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import hiredis
from redis import RedisError, ResponseError
from redis.asyncio.connection import AbstractConnection

from progress.adapters.redis import commands, connections
from progress.adapters.redis.commands import Command, Reply
from progress.adapters.redis.url import Address, parse_url
from progress.adapters.telemetry import tracing
from progress.errors import RedisUnavailable

_TIMEOUT_S = 0.04  # the time limit of a round trip
_HANDSHAKE_TIMEOUT_S = 0.02  # A request waits this long for the first connection.
_CONNECT_TIMEOUT_S = 1.0  # The time limit for connecting in the background.
_BACK_OFF_S = 1.0
# If a reply is overdue, the connection checks again after this time before it closes.
# The reply may have arrived while this process was suspended.
_RECHECK_S = 0.005
_CLOSE_TIMEOUT_S = 1.0  # TLS says goodbye, and a server that hangs does not respond.
_REDIS = {"db.system.name": "redis"}
# This takes a tenth of the time of the connection's `pack_command`.
_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment] # declared for one item


class Client:
    """A client that belongs to the event loop that first uses it.

    `timeout_s`, if given, replaces the timeouts of the first connection and of a round trip.
    """

    def __init__(self, url: str, *, timeout_s: float | None = None) -> None:
        self._address = parse_url(url)
        self._handshake_timeout_s = timeout_s or _HANDSHAKE_TIMEOUT_S
        self._timeout_s = timeout_s or _TIMEOUT_S
        self._connection: BatchedConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_trusted = True  # if false, requests do not wait for the connection
        self._wait_until = 0.0
        self._back_off_until = 0.0

    async def run(self, *sent: Command) -> list[Reply]:
        """Return the replies to the commands, in order, after one round trip.

        Raise RedisUnavailable if there are no replies. Redis runs the commands that were sent, even
        if the caller gives up.
        """
        with tracing.child_span("redis", "client", _REDIS) as span:
            name = str(sent[0][0]) if len(sent) == 1 else "PIPELINE"
            span.set_attribute("db.operation.name", name)
            connection = self._connection
            if connection is None or connection.is_lost:
                connection = await self._wait_for_connection()
            try:
                return await connection.run(sent)
            except RedisUnavailable:
                if connection is self._connection:
                    self._back_off()
                raise

    def send(self, *sent: Command) -> None:
        """Send the commands and ignore their replies; without a connection, do nothing."""
        if self._connection and not self._connection.is_lost:
            self._connection.send(sent)

    async def close(self) -> None:
        """Close the connection once Redis has run all commands that were sent."""
        if self._connecting:
            self._connecting.cancel()
        if self._connection and not self._connection.is_lost:
            with contextlib.suppress(RedisUnavailable):
                await self._connection.run([commands.ping()])
        if self._connection:
            self._connection.close("the client was closed")
            await self._connection.wait_until_closed()

    async def _wait_for_connection(self) -> "BatchedConnection":
        now = asyncio.get_running_loop().time()
        if now < self._back_off_until:
            raise RedisUnavailable("Redis failed less than a second ago")
        if self._connecting is None:
            self._connection = None
            self._wait_until = now + (self._handshake_timeout_s if self._is_trusted else 0)
            self._connecting = asyncio.create_task(
                self._connect(), context=tracing.detached_context()
            )
        if now < self._wait_until:
            await asyncio.wait({self._connecting}, timeout=self._wait_until - now)
        if self._connection is None or self._connection.is_lost:
            raise RedisUnavailable("there is no connection to Redis yet")
        return self._connection

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(max(_CONNECT_TIMEOUT_S, self._timeout_s)):
                connection = await BatchedConnection.open(self._address, self._timeout_s)
            try:
                await _check(connection)
                self._connection, self._is_trusted = connection, True
            finally:
                if connection is not self._connection:
                    connection.close("Redis did not accept the connection")
        except (OSError, RedisUnavailable):
            self._back_off()
        finally:
            self._connecting = None

    def _back_off(self) -> None:
        self._connection, self._is_trusted = None, False
        self._back_off_until = asyncio.get_running_loop().time() + _BACK_OFF_S


async def _check(connection: "BatchedConnection") -> None:
    (reply,) = await connection.run([commands.ping()])
    if isinstance(reply, Exception):
        raise RedisUnavailable(f"Redis rejects the connection: {reply}")


@dataclass
class _Batch:
    count: int
    deadline: float
    done: asyncio.Future[list[Reply]] | None  # None if no caller waits
    replies: list[Reply] = field(default_factory=list)


class BatchedConnection(asyncio.Protocol):
    """One connection. Replies arrive in the order of the commands.

    A connection closes if a reply takes longer than `timeout_s`, and at every error.
    """

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        """Use an open connection."""
        self.is_lost = False
        self._connection, self._timeout_s = connection, timeout_s
        self._parser = connections.create_parser()
        self._transport, self._former_protocol = connections.take_over(connection, self)
        self._loop = asyncio.get_running_loop()
        self._batches: deque[_Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._unwritten: list[Command] = []
        self._writing: asyncio.Handle | None = None
        self._closing = self._loop.create_task(self._disconnect_at_end())

    @classmethod
    async def open(cls, address: Address, timeout_s: float) -> Self:
        """Connect and log in; raise RedisUnavailable if Redis rejects it. There is no timeout."""
        connection = connections.create_async(address)
        try:
            await connection.connect()
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            raise RedisUnavailable(f"Redis is unavailable: {error}") from error
        return cls(connection, timeout_s)

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies to the commands; raise RedisUnavailable if there are none."""
        if self.is_lost:
            raise RedisUnavailable("the connection was closed")
        done: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._enqueue(commands, done)
        return await done

    def send(self, commands: Sequence[Command]) -> None:
        """Send the commands and ignore their replies."""
        self._enqueue(commands, None)

    def close(self, reason: str) -> None:
        """Close the connection immediately; pending calls fail with RedisUnavailable."""
        if self.is_lost:
            return
        self.is_lost = True
        self._unwritten.clear()
        for work in (self._timer, self._writing, self._closing):
            if work:
                work.cancel()
        while self._batches:
            done = self._batches.popleft().done
            if done and not done.done():
                done.set_exception(RedisUnavailable(f"Redis is unavailable: {reason}"))

    async def wait_until_closed(self) -> None:
        """Wait until the closed connection has released its socket."""
        await asyncio.wait({self._closing})

    def _enqueue(
        self, commands: Sequence[Command], done: asyncio.Future[list[Reply]] | None
    ) -> None:
        deadline = self._loop.time() + self._timeout_s
        self._batches.append(_Batch(len(commands), deadline, done))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._watchdog)
        self._unwritten.extend(commands)
        if self._writing is None:
            self._writing = self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Write what was enqueued; the watchdog notices a server that does not read."""
        self._writing = None
        packed = b"".join(map(_pack, self._unwritten))
        self._unwritten.clear()
        self._transport.write(packed)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not False:  # the rest has not arrived yet
                self._add_reply(reply)
        except (RedisError, OSError) as error:
            self.close(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the pending calls, and let redis-py, which may be closing the connection, know."""
        self._former_protocol.connection_lost(error)
        self.close(str(error or "the server closed the connection"))

    async def _disconnect_at_end(self) -> None:
        """Disconnect when `close`, or the end of the event loop, cancels this task."""
        try:
            await self._loop.create_future()
        finally:
            # In a cancelled task, a timeout of Python 3.11.2 raises CancelledError.
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._connection.disconnect()
            self._transport.abort()  # A server that does not read would keep what was not sent.

    def _add_reply(self, reply: Reply) -> None:
        if isinstance(reply, Exception) and (
            not isinstance(reply, ResponseError) or connections.is_outage(reply)
        ):
            raise reply
        if not self._batches:
            self.close("Redis sent a reply without a command")
            return
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
