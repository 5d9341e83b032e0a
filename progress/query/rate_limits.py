"""The limits on what a caller does in a minute, an hour or a day.

Count in Redis or, without Redis, in this instance.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command, Reply
from progress.errors import RateLimited, RedisUnavailable

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client


class Counted(NamedTuple):
    """What a caller may do only so often within a clock minute, hour or UTC day."""

    key: str  # the first part of the counters' keys in Redis
    name: str
    seconds: int
    allowance: str | None = None  # of a learner's posts, as the header Progress-Limit names it


REQUESTS = Counted("rate", "requests a minute", 60)
EVENTS = Counted("published", "published events an hour", 3_600)
TASKS = Counted("tasks", "tasks set an hour", 3_600)
ASSIGNMENTS = Counted("assignments", "lists assigned or taken back an hour", 3_600)
POSTS = Counted("posts", "posts a minute", 60, "posts")
_DAY = 86_400
ENTRIES = Counted("entries", "posted entries a day", _DAY, "entries")
BYTES = Counted("bytes", "posted bytes a day", _DAY, "entries")
LISTS = Counted("lists", "posted changes of lists a day", _DAY, "lists")
LIST_BYTES = Counted("list-bytes", "posted bytes of lists a day", _DAY, "lists")
PREFERENCES = Counted("preferences", "posted UserPreferencesChanged a day", _DAY, "entries")
RETRACTIONS = Counted("retractions", "posted EventRetracted a day", _DAY, "entries")
EVERYBODY = Counted("everybody", "accepted entries of all learners a day", _DAY, "entries")
NEWCOMERS = Counted(
    "newcomers", "accepted entries a day of learners who post for the first day", _DAY, "entries"
)


class RateLimiter:
    """A limit on what each caller does: `most` in each clock minute, hour or UTC day."""

    def __init__(self, redis: "Client | None", most: int, counted: Counted = REQUESTS) -> None:
        self._redis, self._most, self._counted = redis, most, counted
        self._window = 0  # the clock minute, hour or day to which `_counts` belongs
        self._counts: dict[str, int] = {}
        self._exceeding: set[str] = set()  # callers who have exceeded the limit in this window

    def has_exceeded(self, caller: str, at: datetime) -> bool:
        """Return whether this instance has rejected the caller in this minute, hour or day."""
        return self._window == self._window_of(at) and caller in self._exceeding

    async def count(self, caller: str, at: datetime, number: int = 1) -> None:
        """Count what a caller does; raise RateLimited above the limit."""
        _, rejections = await _count(self._redis, [(self, caller, number)], at)
        if rejections:
            raise rejections[0]

    def increment_command(self, caller: str, at: datetime, number: int = 1) -> Command:
        """Return the Redis command that counts, for use in a pipeline."""
        return commands.count(self._counted.key, caller, self._window_of(at), number)

    def check(self, reply: Reply, caller: str, at: datetime, number: int = 1) -> int:
        """Return the count that replies to `increment_command`; without one, count here.

        Raise RateLimited above the limit.
        """
        if self._window != self._window_of(at):
            self._window = self._window_of(at)
            self._counts.clear()
            self._exceeding.clear()
        if not isinstance(reply, int):
            reply = self._counts[caller] = self._counts.get(caller, 0) + number
        if reply <= self._most:
            return reply
        self._exceeding.add(caller)
        seconds = self._counted.seconds - int(at.timestamp()) % self._counted.seconds
        why = f"expected at most {self._most} {self._counted.name}: wait {seconds} seconds"
        raise RateLimited(why, seconds, self._counted.allowance)

    def _window_of(self, at: datetime) -> int:
        return int(at.timestamp()) // self._counted.seconds


Numbers = Sequence[tuple[RateLimiter, str, int]]  # what each limiter counts of which caller


async def count_all(redis: "Client | None", numbers: Numbers, at: datetime) -> int:
    """Count all numbers, or none: raise RateLimited if one of them exceeds its limit.

    Return the new count of the first one; 0 if there is none.
    """
    counts, rejections = await _count(redis, numbers, at)
    if rejections:
        await take_back(redis, numbers, at)
        raise rejections[0]
    return counts[0] if counts else 0


async def take_back(redis: "Client | None", numbers: Numbers, at: datetime) -> None:
    """Count as if the numbers had never been counted."""
    await _count(redis, [(limiter, caller, -number) for limiter, caller, number in numbers], at)


async def _count(
    redis: "Client | None", numbers: Numbers, at: datetime
) -> tuple[list[int], list[RateLimited]]:
    replies: list[Reply] = [None] * len(numbers)
    if redis and numbers:
        with contextlib.suppress(RedisUnavailable):
            replies = await redis.run(
                *(limiter.increment_command(caller, at, n) for limiter, caller, n in numbers)
            )
    counts, rejections = [], []
    for (limiter, caller, number), reply in zip(numbers, replies, strict=True):
        try:
            counts.append(limiter.check(reply, caller, at, number))
        except RateLimited as error:
            rejections.append(error)
    return counts, rejections
