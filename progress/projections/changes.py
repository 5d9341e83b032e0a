"""Notifications publish committed changes of the read models to Redis.

A notification updates the version copies in Redis, so that older cached responses are not served.
The notification also reaches the subscribers of a learner's or an operation's channel. A
notification waits at most 50 ms for each reply; the first one of a process also imports redis-py.
If a notification is lost, the change remains committed, but responses may be five seconds out of
date (see `progress.adapters.redis.commands`).
"""

import contextlib
import functools
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import logs, tracing
from progress.errors import RedisUnavailable

if TYPE_CHECKING:
    from progress.adapters.redis.blocking_client import BlockingClient

_CONNECT_TIMEOUT_S, _REPLY_TIMEOUT_S = 0.015, 0.035
_RETRY_AFTER_S = 1.0  # The pause after an error.
_MAX_PENDING = 100  # The limit of commands kept while Redis is down; the oldest are dropped.

_REDIS = {"db.system.name": "redis"}


class Change(msgspec.Struct, frozen=True):
    """The changes of one fold of a schema; `version` is None if the fold changed nothing.

    `mark` is the second (Unix time) at which the last folded event was recorded, and its position.
    """

    schema: str
    version: int | None
    learners: str | None  # as JSON
    catalogue: bool | None
    began: float = msgspec.field(default_factory=time.monotonic)  # measured before the commit
    mark: tuple[int, int] | None = None


class Publisher:
    """A publisher that sends changes to a Redis server; without a URL, it does nothing.

    If Redis is unavailable, the publisher keeps its commands for a later call, and sends nothing
    for one second. The later call may repeat commands, because Redis may have run them.
    """

    def __init__(self, url: str | None) -> None:
        """Do not open a connection yet, so that the process may still fork."""
        self._address = parse_url(url) if url else None
        self._retry_at = 0.0
        self._pending: deque[Command] = deque(maxlen=_MAX_PENDING)

    @property
    def is_enabled(self) -> bool:
        return self._address is not None

    def publish(self, change: Change, catalogue: int | None = None) -> bool:
        """Publish a window's change, with the catalogue's version if the catalogue changed.

        This method and the other publishing methods return False if the notification is lost.
        """
        ends = commands.version_expires_at_ms(change.began)
        sent: list[Command] = []
        if change.version is not None and change.learners:
            prefix = commands.learner_version_key(change.schema, "")
            sent.append(commands.publish_learners(change.learners, prefix, change.version, ends))
        if catalogue is not None:
            sent.append(_keep_version(change.schema, commands.CATALOGUE, ends, catalogue))
            sent.append(commands.publish_version(commands.EVERYONE_CHANNEL, catalogue))
        if change.mark:
            sent.extend(commands.mark_log(*change.mark))
        return self._send(*sent)

    def publish_batch(self, schema: str, version: int, *, known_at: float) -> bool:
        ends = commands.version_expires_at_ms(known_at)
        return self._send(_keep_version(schema, commands.BATCH, ends, version))

    def publish_swap(self, schema: str, version: int, *, known_at: float) -> bool:
        """Publish the version of the read models that a rebuild has swapped in."""
        ends = commands.version_expires_at_ms(known_at)
        keep = _keep_version(schema, commands.SWAP, ends, version)
        return self._send(keep, commands.publish_version(commands.EVERYONE_CHANNEL, version))

    def publish_operation(self, operation_id: str, version: int) -> bool:
        return self._send(
            commands.publish_version(commands.OPERATION_CHANNEL + operation_id, version)
        )

    @functools.cached_property
    def _client(self) -> "BlockingClient | None":
        if self._address is None:
            return None
        # Imported late, because redis-py would take most of the start-up time of `project`.
        from progress.adapters.redis.blocking_client import BlockingClient

        return BlockingClient(
            self._address, connect_timeout_s=_CONNECT_TIMEOUT_S, timeout_s=_REPLY_TIMEOUT_S
        )

    def _send(self, *sent: Command) -> bool:
        if not sent or self._client is None:
            return True
        with tracing.child_span("notice", "client", _REDIS) as span:
            span.set_attribute("db.operation.name", commands.operation_name(sent))
            return self._send_with_pending(self._client, *sent)

    def _send_with_pending(self, client: "BlockingClient", *sent: Command) -> bool:
        """Send the kept commands, then these commands, in one round trip.

        If Redis rejects a command, write a log line and do not send the command again.
        """
        if time.monotonic() < self._retry_at:
            self._pending.extend(sent)
            return False
        sent = (*self._pop_pending(), *sent)
        try:
            replies = client.run(*sent)
        except RedisUnavailable as error:
            self._retry_at = time.monotonic() + _RETRY_AFTER_S
            self._pending.extend(sent)
            logs.write("WARNING", f"a change was not published to Redis: {error}")
            return False
        rejections = [reply for reply in replies if isinstance(reply, Exception)]
        if rejections:
            logs.write("ERROR", f"Redis rejected the notification of a change: {rejections[0]}")
        return not rejections

    def _pop_pending(self) -> list[Command]:
        """Remove and return the kept commands, so that no other thread sends them."""
        popped = []
        with contextlib.suppress(IndexError):
            while True:
                popped.append(self._pending.popleft())
        return popped


DISABLED = Publisher(None)


def _keep_version(schema: str, kind: str, ends: int, version: int) -> Command:
    key = commands.shared_version_key(schema, kind)
    return commands.set_newer_versions({key: version}, ends)
