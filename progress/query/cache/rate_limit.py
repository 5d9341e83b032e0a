"""The limit on what a caller does in a minute or an hour.

Count in Redis or, without Redis, in this instance.
"""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command, Reply
from progress.errors import RateLimited, RedisUnavailable

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client


class Counted(NamedTuple):
    """What a caller may do only so often within a clock minute or hour."""

    key: str  # the first part of the counters' keys in Redis
    name: str
    seconds: int


REQUESTS = Counted("rate", "requests a minute", 60)
EVENTS = Counted("published", "published events an hour", 3_600)


class RateLimiter:
    """A limit on what each caller does: `most` in each clock minute or hour."""

    def __init__(self, redis: "Client | None", most: int, counted: Counted = REQUESTS) -> None:
        self._redis, self._most, self._counted = redis, most, counted
        self._window = 0  # the clock minute or hour to which `_counts` belongs
        self._counts: dict[str, int] = {}

    async def count(self, caller: str, at: datetime, number: int = 1) -> None:
        """Count what a caller does; raise RateLimited above the limit."""
        if self._redis is None:
            self.count_locally(caller, at, number)
            return
        try:
            (reply,) = await self._redis.run(self.increment_command(caller, at, number))
        except RedisUnavailable:
            self.count_locally(caller, at, number)
        else:
            self.check(reply, caller, at, number)

    def increment_command(self, caller: str, at: datetime, number: int = 1) -> Command:
        """Return the Redis command that counts, for use in a pipeline."""
        return commands.count(self._counted.key, caller, self._window_of(at), number)

    def check(self, reply: Reply, caller: str, at: datetime, number: int = 1) -> None:
        """Raise RateLimited if the reply to `increment_command`, a count, exceeds the limit."""
        if not isinstance(reply, int):
            self.count_locally(caller, at, number)
            return
        if reply == number and self._redis:
            key, _, seconds = self._counted
            self._redis.send(commands.expire_count(key, caller, self._window_of(at), 2 * seconds))
        self._check(reply, at)

    def count_locally(self, caller: str, at: datetime, number: int = 1) -> None:
        """Count what a caller does in this instance; raise RateLimited above the limit."""
        if self._window != self._window_of(at):
            self._window = self._window_of(at)
            self._counts.clear()
        self._counts[caller] = self._counts.get(caller, 0) + number
        self._check(self._counts[caller], at)

    def _check(self, count: int, at: datetime) -> None:
        if count > self._most:
            seconds = self._counted.seconds - int(at.timestamp()) % self._counted.seconds
            why = f"expected at most {self._most} {self._counted.name}: wait {seconds} seconds"
            raise RateLimited(why, seconds)

    def _window_of(self, at: datetime) -> int:
        return int(at.timestamp()) // self._counted.seconds
