"""Connections to Redis for commands whose loss is harmless.

Their timeouts are short. After an error, no command is sent to Redis for one second.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence

from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import parse_url
from progress.adapters.telemetry import logs

_CONNECT_TIMEOUT_S, _REPLY_TIMEOUT_S = 0.015, 0.035
_RETRY_AFTER_S = 1.0  # The pause after an error.
_MAX_PENDING = 100  # The limit of commands kept while Redis is down; the oldest are dropped.


class Connections:
    """The connections to a Redis server."""

    def __init__(self, url: str) -> None:
        self._address = parse_url(url)
        self._idle: deque[RedisSocket] = deque()
        self._retry_at = 0.0
        self._pending: deque[Command] = deque(maxlen=_MAX_PENDING)

    def send(self, commands: Sequence[Command]) -> bool:
        """Send the commands that earlier calls kept, then these commands, in one round trip.

        If Redis is unavailable, write a log line, keep the commands for a later call and return
        False. The later call may repeat commands, because Redis may have run them before the
        failure. Calls within the next second only keep their commands and return False. If Redis
        rejects a command, write a log line, keep nothing and return False.
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
        """Remove and return the kept commands, so that no other thread sends them."""
        commands = []
        with contextlib.suppress(IndexError):
            while True:
                commands.append(self._pending.popleft())
        return commands
