"""A Redis client for the query function: the commands of many requests share one connection.

Nobody waits for a Redis that is away or hangs: a round trip has a deadline. One that misses it
breaks the connection, and Redis is left alone for a second; then one attempt to connect is
made in the background, and requests go on without it until that has succeeded.
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
from progress.adapters.redis.url import address
from progress.adapters.telemetry import tracing
from progress.errors import CacheAway

_SECONDS = 0.04  # that a round trip may take where a request waits
_LOOK = 0.005  # after which an overdue answer is looked for once more: this process may have slept
_GREETING = 0.02  # seconds that a first connection is waited for
_CONNECTING = 1.0  # seconds that connecting may take while nobody waits for it
_PAUSE = 1.0  # seconds
_REDIS = {"db.system.name": "redis"}


class Client:
    """A Redis, as the event loop that first asks it sees it.

    A caller with `patience` waits that many seconds for a connection and for a round trip.
    """

    def __init__(self, url: str, *, patience: float | None = None) -> None:
        self._address = address(url)
        self._greeting, self._seconds = patience or _GREETING, patience or _SECONDS
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_trusted = True  # by those who wait for a connection
        self._waited_until = 0.0
        self._alone_until = 0.0

    async def run(self, *commands: Command) -> list[Reply]:
        """The replies to the commands, in order, in one round trip; CacheAway where there are none.

        What a caller who has given up had sent is carried out all the same.
        """
        if not tracing.is_exporting():
            return await self._ask(commands)
        with tracing.span("redis", "client", _REDIS) as span:
            span.note("db.operation.name", resp.named(commands))
            return await self._ask(commands)

    def send(self, *commands: Command) -> None:
        """The same for who does not wait: where there is no connection, nothing is sent."""
        if self._wire and not self._wire.is_lost:
            self._wire.send(commands)

    async def close(self) -> None:
        """End the connection, when what was sent has been carried out."""
        if self._connecting:
            self._connecting.cancel()
        if self._wire and not self._wire.is_lost:
            with contextlib.suppress(CacheAway):
                await self._wire.ask([("PING",)])
        if self._wire:
            self._wire.end("it was closed")

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        wire = self._wire
        if wire is None or wire.is_lost:
            wire = await self._reached()
        try:
            return await wire.ask(commands)
        except CacheAway:
            if wire is self._wire:
                self._left_alone()
            raise

    async def _reached(self) -> "_Wire":
        now = asyncio.get_running_loop().time()
        if now < self._alone_until:
            raise CacheAway("Redis is left alone for a while")
        if self._connecting is None:
            self._wire = None
            self._waited_until = now + (self._greeting if self._is_trusted else 0)
            self._connecting = asyncio.create_task(self._connect())
        if now < self._waited_until:
            await asyncio.wait({self._connecting}, timeout=self._waited_until - now)
        if self._wire is None or self._wire.is_lost:
            raise CacheAway("there is no connection to Redis yet")
        return self._wire

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(max(_CONNECTING, self._seconds)):
                wire = await self._opened()
            try:
                await self._greet(wire)
                self._wire, self._is_trusted = wire, True
            finally:
                if wire is not self._wire:
                    wire.end("it was not greeted")
        except (OSError, CacheAway):
            self._left_alone()
        finally:
            self._connecting = None

    async def _greet(self, wire: "_Wire") -> None:
        for reply in await wire.ask(self._address.greeting):
            if isinstance(reply, ErrorReply):
                raise CacheAway(f"Redis refuses: {reply.text}")

    async def _opened(self) -> "_Wire":
        loop, at = asyncio.get_running_loop(), self._address
        wire = partial(_Wire, self._seconds)
        if at.path is not None:
            return (await loop.create_unix_connection(wire, at.path))[1]
        return (await loop.create_connection(wire, at.host, at.port, ssl=at.tls))[1]

    def _left_alone(self) -> None:
        self._wire, self._is_trusted = None, False
        self._alone_until = asyncio.get_running_loop().time() + _PAUSE


@dataclass
class _Round:
    """One request's commands, and what has been replied to them."""

    count: int
    deadline: float
    done: asyncio.Future[list[Reply]] | None  # None where nobody waits
    replies: list[Reply] = field(default_factory=list)


class _Wire(asyncio.Protocol):
    """One connection. Replies come in the order of the commands."""

    def __init__(self, seconds: float) -> None:
        self.is_lost = False
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._rounds: deque[_Round] = deque()
        self._rest = b""
        self._watch: asyncio.TimerHandle | None = None
        self._unwritten: list[bytes] = []
        self._next_write: asyncio.Handle | None = None  # what is written together costs once

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(f"the connection was closed: {exc}")

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        if self.is_lost:
            raise CacheAway("the connection was closed")
        done: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._take(commands, done)
        return await done

    def send(self, commands: Sequence[Command]) -> None:
        self._take(commands, None)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        try:
            while at < len(data) and self._rounds:
                reply, at = resp.read(data, at)
                self._replied(reply)
        except resp.Incomplete:
            pass
        except (ValueError, RecursionError) as fault:
            self.end(f"it speaks another language: {fault}")
        if at < len(data) and not self._rounds:
            self.end("it speaks without being asked")
        self._rest = data[at:]

    def _take(self, commands: Sequence[Command], done: asyncio.Future[list[Reply]] | None) -> None:
        deadline = self._loop.time() + self._seconds
        self._rounds.append(_Round(len(commands), deadline, done))
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._look)
        self._unwritten.append(resp.encoded(commands))
        if self._next_write is None:
            self._next_write = self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._next_write = None
        self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def end(self, why: str) -> None:
        """Give the connection up; those who wait for a reply get none."""
        self.is_lost = True
        for handle in (self._watch, self._next_write):
            if handle:
                handle.cancel()
        self._transport.abort()
        while self._rounds:
            done = self._rounds.popleft().done
            if done and not done.done():
                done.set_exception(CacheAway(f"Redis does not answer: {why}"))

    def _replied(self, reply: Reply) -> None:
        asked = self._rounds[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.count:
            self._rounds.popleft()
            if asked.done and not asked.done.done():
                asked.done.set_result(asked.replies)

    def _look(self, overdue: _Round | None = None) -> None:
        self._watch = None
        if not self._rounds:
            return
        oldest = self._rounds[0]
        if oldest is overdue:
            self.end("it took too long")
        elif oldest.deadline <= self._loop.time():
            self._watch = self._loop.call_later(_LOOK, self._look, oldest)
        else:
            self._watch = self._loop.call_at(oldest.deadline, self._look)
