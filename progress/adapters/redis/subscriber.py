"""A subscription to Redis channels that reconnects automatically.

Import this module at first use, because it imports redis-py.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis import RedisError, ResponseError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from progress.adapters.redis import commands, connections
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import logs

# If no message arrives for this time, Redis is pinged, and changes of `channels` are applied.
_POLL_S = 0.2
_TIMEOUT_S = 0.5  # If a ping takes longer, Redis counts as down.
_RECONNECT_S = 1.0  # The pause between two attempts to connect.
_WRITE_CHECK_S = 0.5  # The pause between two checks whether Redis accepts writes.
_ERRORS = (RedisError, OSError)  # TimeoutError is an OSError


class Subscriber:
    """One subscribed connection; `on_message` is called with the channel of each message.

    `on_state_change` is called when the connection is lost, and when a subscription is confirmed
    (also after a reconnection). Messages that were published before a call of `on_state_change` may
    have been missed.
    """

    def __init__(
        self,
        url: str,
        channels: set[str],
        on_message: Callable[[str], None],
        on_state_change: Callable[[], None],
    ) -> None:
        """Subscribe to `channels`; the caller may change this set later to change subscriptions."""
        self.is_connected = False
        self._address, self._channels = parse_url(url), channels
        self._on_message, self._on_state_change = on_message, on_state_change
        self._subscribed: set[str] = set()
        self._is_rejected = False  # by a Redis that responds

    async def run(self) -> None:
        """Receive messages until cancelled; reconnect after every failure."""
        while not _is_cancelled():
            client = connections.create_subscriber(self._address, timeout_s=_TIMEOUT_S)
            try:
                async with client.pubsub() as connection:
                    await self._receive(client, connection)
            except _ERRORS as error:
                is_rejected = isinstance(error, ResponseError) and not connections.is_outage(error)
                if self.is_connected or (is_rejected and not self._is_rejected):
                    why = f"no Redis, so the database is polled: {error!r}"
                    logs.write("ERROR" if is_rejected else "WARNING", why)
                self._is_rejected = is_rejected
            finally:
                self._disconnect()
                await _close(client)
            if not _is_cancelled():
                await asyncio.sleep(_RECONNECT_S)

    async def _receive(self, client: Redis, connection: PubSub) -> None:
        """Receive messages until cancelled.

        Raise an error if Redis does not respond in time, or rejects writes: then it rejects the
        notifications, too.
        """
        is_pinged, check_at = False, 0.0
        while not _is_cancelled():
            if time.monotonic() >= check_at:
                await client.execute_command(*commands.check_writes())
                check_at = time.monotonic() + _WRITE_CHECK_S
            await self._update_subscriptions(connection)
            message = await connection.get_message(timeout=_TIMEOUT_S if is_pinged else _POLL_S)
            if message is not None:
                is_pinged = False
                self._handle(message)
            elif is_pinged:
                raise TimeoutError("Redis does not respond")
            else:
                await connection.ping()
                is_pinged = True

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self._on_message(message["channel"])
        elif message["type"] == "subscribe":  # Redis has confirmed a subscription
            self.is_connected = True
            self._on_state_change()

    async def _update_subscriptions(self, connection: PubSub) -> None:
        if removed := self._subscribed - self._channels:
            await connection.unsubscribe(*removed)
            self._subscribed -= removed
        if added := self._channels - self._subscribed:
            await connection.subscribe(*added)
            self._subscribed |= added

    def _disconnect(self) -> None:
        self._subscribed.clear()
        if self.is_connected:
            self.is_connected = False
            self._on_state_change()


def _is_cancelled() -> bool:
    """Return whether the task was cancelled; redis-py may report a cancellation as a timeout."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close(client: Redis) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await client.aclose()
    except _ERRORS:
        return
