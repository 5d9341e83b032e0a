"""Rate limit: requests per caller and minute, counted in Redis or, without Redis, per instance."""

from datetime import datetime

from progress.adapters.redis import commands
from progress.adapters.redis.async_client import Client
from progress.adapters.redis.commands import Command, Reply
from progress.errors import RateLimited, RedisUnavailable

_MINUTE = 60


class RateLimiter:
    """A limit on the requests of each caller in each clock minute."""

    def __init__(self, redis: Client | None, per_minute: int) -> None:
        self._redis = redis
        self._per_minute = per_minute
        self._minute = 0  # the clock minute to which `_counts` belongs
        self._counts: dict[str, int] = {}

    async def count(self, caller: str, at: datetime) -> None:
        """Count a request; raise RateLimited if the caller exceeds the limit."""
        if self._redis is None:
            self.count_locally(caller, at)
            return
        try:
            (reply,) = await self._redis.run(self.increment_command(caller, at))
        except RedisUnavailable:
            self.count_locally(caller, at)
        else:
            self.check(reply, caller, at)

    def increment_command(self, caller: str, at: datetime) -> Command:
        """Return the Redis command that counts a request, for use in a pipeline."""
        return commands.count_request(caller, _minute(at))

    def check(self, reply: Reply, caller: str, at: datetime) -> None:
        """Raise RateLimited if the reply to `increment_command`, a count, exceeds the limit."""
        if not isinstance(reply, int):
            self.count_locally(caller, at)
            return
        if reply == 1 and self._redis:
            self._redis.send(commands.expire_count(caller, _minute(at)))
        self._check(reply, at)

    def count_locally(self, caller: str, at: datetime) -> None:
        """Count a request in this instance; raise RateLimited if the caller exceeds the limit."""
        if self._minute != _minute(at):
            self._minute = _minute(at)
            self._counts.clear()
        self._counts[caller] = self._counts.get(caller, 0) + 1
        self._check(self._counts[caller], at)

    def _check(self, count: int, at: datetime) -> None:
        if count > self._per_minute:
            seconds = _MINUTE - int(at.timestamp()) % _MINUTE
            why = f"expected at most {self._per_minute} requests a minute: wait {seconds} seconds"
            raise RateLimited(why, seconds)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // _MINUTE
