"""Listening to channels in Redis: what is published there is heard, and whether one still hears.

redis-py is imported with the first listener: its import costs more than a whole answer.
"""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from progress.adapters.telemetry import logs

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

_TURN = 0.2  # seconds without a word until it is asked for one, and new channels are followed
_SILENCE = 0.5  # seconds until a Redis that was asked for a word counts as away
_TRY_AGAIN = 1.0  # seconds between two tries to connect


class Ears:
    """One connection that listens; `heard` is called with the channel's name of each message.

    `turned` is called whenever a channel begins to be listened to, also after a break, and when
    nothing is heard any more: what was published until then may have been missed.
    """

    def __init__(
        self, url: str, wanted: set[str], heard: Callable[[str], None], turned: Callable[[], None]
    ) -> None:
        """`wanted` are the channels; they are followed as they come and go."""
        self.hearing = False
        self._url, self._wanted = url, wanted
        self._heard, self._turned = heard, turned
        self._listened: set[str] = set()

    async def run(self) -> None:
        """Listen until cancelled, whatever becomes of Redis."""
        redis: Any = await asyncio.to_thread(importlib.import_module, "redis.asyncio")
        faults = (redis.RedisError, OSError)  # TimeoutError is one of these
        while not _is_cancelled():
            client = redis.from_url(
                self._url,
                socket_timeout=_SILENCE,
                socket_connect_timeout=_SILENCE,
                retry=None,
                decode_responses=True,
            )
            try:
                async with client.pubsub() as channels:
                    await self._listen(channels)
            except faults as fault:
                if self.hearing:
                    logs.write("WARNING", f"Redis is not heard, the database is asked: {fault!r}")
            finally:
                self._deaf()
                await _closed(client, faults)
            if not _is_cancelled():
                await asyncio.sleep(_TRY_AGAIN)

    async def _listen(self, channels: "PubSub") -> None:
        """Hear until Redis is silent though it was asked; whatever is sent has a timeout too."""
        asked = False
        while not _is_cancelled():
            await self._follow(channels)
            message = await channels.get_message(timeout=_SILENCE if asked else _TURN)
            if message is not None:
                asked = False
                self._take(message)
            elif asked:
                raise TimeoutError("it does not answer")
            else:
                await channels.ping()
                asked = True

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self._heard(message["channel"])
        elif message["type"] == "subscribe":  # confirmed: the first time, or by a new connection
            self.hearing = True
            self._turned()

    async def _follow(self, channels: "PubSub") -> None:
        """Listen to what is wanted by now, and to nothing else."""
        if gone := self._listened - self._wanted:
            await channels.unsubscribe(*gone)
            self._listened -= gone
        if new := self._wanted - self._listened:
            await channels.subscribe(*new)
            self._listened |= new

    def _deaf(self) -> None:
        self._listened.clear()
        if self.hearing:
            self.hearing = False
            self._turned()


def _is_cancelled() -> bool:
    """Whether the task was, be it that redis-py took it for a timeout of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _closed(client: Any, faults: tuple[type[Exception], ...]) -> None:
    try:
        async with asyncio.timeout(_SILENCE):
            await client.aclose()
    except faults:
        return
