"""An asynchronous Redis client: the commands of many requests share one connection.

A round trip has a timeout, so requests do not wait long for a Redis server that is down or hangs.
The client closes a connection that exceeds the timeout, and opens no new connection for one second.
Then it connects in the background. Requests continue without Redis until the connection is open.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command, Reply
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import tracing
from progress.errors import RedisUnavailable

if TYPE_CHECKING:
    from progress.adapters.redis.batched_connection import BatchedConnection

_TIMEOUT_S = 0.04  # the time limit of a round trip
_HANDSHAKE_TIMEOUT_S = 0.02  # A request waits this long for the first connection.
_CONNECT_TIMEOUT_S = 1.0  # The time limit for connecting in the background.
_BACK_OFF_S = 1.0
_REDIS = {"db.system.name": "redis"}


class Client:
    """A client that belongs to the event loop that first uses it.

    `timeout_s`, if given, replaces the timeouts of the first connection and of a round trip.
    """

    def __init__(self, url: str, *, timeout_s: float | None = None) -> None:
        # Imported now, because importing redis-py during a request would take 150 ms of its time.
        from progress.adapters.redis.batched_connection import BatchedConnection

        self._address, self._open = parse_url(url), BatchedConnection.open
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
        if not tracing.is_exporting():
            return await self._run(sent)
        with tracing.child_span("redis", "client", _REDIS) as span:
            span.set_attribute("db.operation.name", commands.operation_name(sent))
            return await self._run(sent)

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

    async def _run(self, sent: Sequence[Command]) -> list[Reply]:
        connection = self._connection
        if connection is None or connection.is_lost:
            connection = await self._wait_for_connection()
        try:
            return await connection.run(sent)
        except RedisUnavailable:
            if connection is self._connection:
                self._back_off()
            raise

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
                connection = await self._open(self._address, self._timeout_s)
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
