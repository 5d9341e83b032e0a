"""Notifications publish committed changes of the read models to Redis.

A notification updates the version copies in Redis, so that no older cached response is served. It
also reaches the subscribers of a learner's or an operation's channel. If it is lost, responses may
be five seconds out of date (see `progress.adapters.redis.version_keys`). So a notification never
takes longer than 50 ms, and its failure never fails the change that it reports.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from progress.adapters.redis import channels, resp, version_keys
from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import logs, tracing
from progress.projections import schema

_CONNECT_TIMEOUT_S, _REPLY_TIMEOUT_S = 0.015, 0.035
_RETRY_AFTER_S = 1.0  # after Redis did not reply
_MAX_PENDING = 100  # commands that wait for Redis to return
_REDIS = {"db.system.name": "redis"}


class Change(msgspec.Struct, frozen=True):
    """The changes of one fold; `version` is None if the fold changed nothing."""

    version: int | None
    learners: str | None  # as JSON
    catalogue: bool | None
    began: float = msgspec.field(default_factory=time.monotonic)  # before the commit


class Publisher:
    """A publisher of changes to the Redis server at a URL; without a URL it does nothing."""

    def __init__(self, url: str | None) -> None:
        """Open no connection yet, so that the process may still fork."""
        self._connections = _Connections(url) if url else None

    @property
    def is_enabled(self) -> bool:
        """Whether a Redis server is configured."""
        return self._connections is not None

    def publish(self, change: Change, catalogue: int | None = None) -> bool:
        """Publish a window's change, with the catalogue's version if it changed.

        Like the methods below, return False if the notification is lost.
        """
        ends = version_keys.expires_at_ms(change.began)
        commands: list[Command] = []
        if change.version is not None and change.learners:
            key = version_keys.learner_key(schema.schema_name(), "")
            commands.append(
                ("EVAL", version_keys.PUBLISH_SCRIPT, 0, ends, change.version, change.learners, key)
            )
        if catalogue is not None:
            commands.append(_keep_version(version_keys.CATALOGUE, ends, catalogue))
            commands.append(("PUBLISH", channels.EVERYONE, catalogue))
        return self._send(commands)

    def publish_batch(self, version: int, *, known_at: float) -> bool:
        """Publish the version of the batch models."""
        return self._send(
            [_keep_version(version_keys.BATCH, version_keys.expires_at_ms(known_at), version)]
        )

    def publish_swap(self, version: int, *, known_at: float) -> bool:
        """Publish the version of the read models that a rebuild has swapped in."""
        keep = _keep_version(version_keys.SWAP, version_keys.expires_at_ms(known_at), version)
        return self._send([keep, ("PUBLISH", channels.EVERYONE, version)])

    def publish_operation(self, operation_id: str, version: int) -> bool:
        """Publish an operation's progress."""
        return self._send([("PUBLISH", channels.OPERATION + operation_id, version)])

    def _send(self, commands: Sequence[Command]) -> bool:
        if self._connections is None or not commands:
            return True
        with tracing.child_span("notice", "client", _REDIS) as span:
            span.set_attribute("db.operation.name", resp.operation_name(commands))
            return self._connections.send(commands)


DISABLED = Publisher(None)


def _keep_version(kind: str, ends: int, version: int) -> Command:
    key = version_keys.shared_key(schema.schema_name(), kind)
    return ("EVAL", version_keys.SET_SCRIPT, 1, key, ends, version)


class _Connections:
    """The connections to a Redis server; after an error, none is used for a second."""

    def __init__(self, url: str) -> None:
        self._address = parse_url(url)
        self._idle: deque[RedisSocket] = deque()
        self._retry_at = 0.0
        self._pending: deque[Command] = deque(maxlen=_MAX_PENDING)

    def send(self, commands: Sequence[Command]) -> bool:
        """Send the commands in one round trip, after the commands that failed before.

        If this fails, write a log line and return False; Redis may still have run the commands.
        """
        if time.monotonic() < self._retry_at:
            self._pending.extend(commands)
            return False
        commands = [*self._pop_pending(), *commands]
        try:
            replies = self._ask(commands)
        except OSError as error:
            self._retry_at = time.monotonic() + _RETRY_AFTER_S
            self._pending.extend(commands)
            logs.write("WARNING", f"a change was not published to Redis: {error}")
            return False
        refusals = [reply.text for reply in replies if isinstance(reply, ErrorReply)]
        if refusals:  # a second attempt would be rejected as well
            logs.write("ERROR", f"Redis rejected the notification of a change: {refusals[0]}")
        return not refusals

    def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies, read on a connection that no other thread is using."""
        connection = self._pop_idle() or RedisSocket(self._address, seconds=_CONNECT_TIMEOUT_S)
        replies = connection.run(commands, seconds=_REPLY_TIMEOUT_S)
        self._idle.append(connection)
        return replies

    def _pop_idle(self) -> RedisSocket | None:
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_open:
                    return connection
                connection.close()
        return None

    def _pop_pending(self) -> list[Command]:
        """Remove and return the commands that failed before, so that no other thread sends them."""
        commands = []
        with contextlib.suppress(IndexError):
            while True:
                commands.append(self._pending.popleft())
        return commands
