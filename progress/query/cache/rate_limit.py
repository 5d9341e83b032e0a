"""How many requests a caller may make a minute: counted in Redis, or else in the instance."""

from datetime import datetime

from progress.adapters.redis.resp import Command, Reply
from progress.errors import RateLimited

_MINUTE = 60


class Limit:
    """A number of requests in each minute of the clock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0  # that the instance counts in
        self._counts: dict[str, int] = {}

    def counting(self, caller: str, at: datetime) -> Command:
        """The command that counts a request; `check` takes its reply."""
        return ("INCR", f"rate:{caller}:{_minute(at)}")

    def forgetting(self, counting: Command) -> Command:
        """To be sent after the first count: a minute is over at some time."""
        return ("EXPIRE", counting[1], 2 * _MINUTE)

    def check(self, reply: Reply, caller: str, at: datetime) -> None:
        """RateLimited if the request is one too many."""
        if isinstance(reply, int):
            self._check(reply, at)
        else:
            self.count(caller, at)

    def count(self, caller: str | None, at: datetime) -> None:
        """Count a request in the instance; RateLimited if it is one too many. Nobody's are free."""
        if caller is None:
            return
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
