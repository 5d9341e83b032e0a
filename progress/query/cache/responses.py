"""The cache of query results in Redis; the rate limit shares its round trip.

A result is never older than the read models were when the request arrived. A fold changes the
versions in the database when it commits (`sql/projections/versions.sql`).

- An operation reads the versions that it needs once, in one statement, before it looks for
  entries. No copy of them is kept.
- A cache entry has a validator with the versions that were read before the data. The data may be
  newer than these versions, but never older. An entry with other versions is not used.
- Concurrent requests of a caller share a computation. A request does not join a computation that
  started before its versions were read.
- While Redis does not respond, results come from the database.
- If the versions cannot be read, no result is returned.

A computation runs in the task of the caller that starts it. A separate, shielded task would add
12 % to the time of a computation that no other caller joins.
"""

import asyncio
import functools
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from progress.adapters import request_scope
from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command
from progress.errors import RedisUnavailable, Unavailable
from progress.query.cache.keys import CacheKey, locate, set_command
from progress.query.cache.single_flight import SingleFlight
from progress.query.cache.versions import DatabaseVersions, Versions
from progress.query.rate_limits import RateLimiter
from progress.query.read_models.reader import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client


_CHECKSUM_LENGTH = 8

Result = Literal["hit", "miss", "error", "off"]
Compute = Callable[[], Awaitable[bytes]]  # returns a result as JSON


class Lookup(msgspec.Struct):
    """The cached results for a request's keys, in the order of the keys; None for a miss."""

    entries: list[bytes | None]
    at: datetime
    bypass: bool
    since: float  # a monotonic time: computations that started before are not joined
    versions: Versions | None = None  # None if nothing can be cached
    failure: Unavailable | None = None  # why the versions could not be read
    result: Result = "off"  # "hit": every key was found


class ResponseCache:
    """One instance's access to the cache. Without `redis`, requests only share computations."""

    def __init__(self, redis: "Client | None", limiter: RateLimiter, reader: Reader) -> None:
        self._redis, self._limiter = redis, limiter
        self.versions = DatabaseVersions(reader)
        self._flights: SingleFlight[bytes] = SingleFlight()

    async def lookup(
        self,
        caller: str,
        keys: Sequence[CacheKey],
        *,
        at: datetime,
        requests: int = 1,
        bypass: bool = False,
    ) -> Lookup:
        """Read the versions; then look the keys up and count the requests, in one Redis pipeline.

        Raise RateLimited if the caller exceeds the rate limit. With `bypass`, no key is looked up,
        but computed results are still cached.
        """
        lookup = Lookup([None] * len(keys), at, bypass, time.monotonic())
        if self._redis is None:
            if requests:
                self._limiter.check(None, caller, at, requests)
            await asyncio.sleep(0)  # let requests that arrive together share their computations
            return lookup
        if requests and self._limiter.has_exceeded(caller, at):
            await self._limiter.count(caller, at, requests)  # before it costs a statement
            requests = 0
        if keys:
            lookup.result = "miss"
            try:
                lookup.versions = await self.versions.read(keys, at)
                lookup.since = lookup.versions.read_at
            except Unavailable as failure:
                lookup.failure = failure
        await self._use_entries(self._redis, lookup, caller, keys, requests)
        return lookup

    async def get_or_compute(self, lookup: Lookup, key: CacheKey, compute: Compute) -> bytes:
        """Compute and cache the result, or share a computation in progress.

        Raise Unavailable if the versions could not be read.
        """
        if lookup.failure:
            raise lookup.failure
        computation = functools.partial(self._compute, lookup, key, compute)
        # Of the caller: nobody waits in the queue of another caller's statements.
        flight = request_scope.current().caller, key
        if lookup.bypass:
            return await self._flights.start(flight, computation)
        return await self._flights.join(flight, computation, since=lookup.since)

    async def _use_entries(
        self, redis: "Client", lookup: Lookup, caller: str, keys: Sequence[CacheKey], requests: int
    ) -> None:
        """Count the requests and get the entries in one pipeline; use those of these versions."""
        at, versions, sent = lookup.at, lookup.versions, list[Command]()
        if requests:
            sent.append(self._limiter.increment_command(caller, at, requests))
        if versions and not lookup.bypass:
            locations = (locate(key, at) for key in keys)
            sent += (commands.get_entry(each.key, each.field) for each in locations)
        try:
            replies = await redis.run(*sent) if sent else []
        except RedisUnavailable:
            lookup.result = "error"
            if requests:
                self._limiter.check(None, caller, at, requests)
            return
        if requests:
            self._limiter.check(replies.pop(0), caller, at, requests)
        for number, reply in enumerate(replies):
            validator = versions and versions.validator(keys[number])
            if validator and isinstance(reply, bytes):
                lookup.entries[number] = _decode(reply, validator)
        if keys and None not in lookup.entries:
            lookup.result = "hit"

    async def _compute(self, lookup: Lookup, key: CacheKey, compute: Compute) -> bytes:
        """Compute the result; cache it only before the deadline, until which erasures wait."""
        data = await compute()
        validator = lookup.versions and lookup.versions.validator(key)
        if lookup.versions and validator and time.monotonic() < request_scope.current().deadline:
            day_ends = lookup.versions.rows[key.user_id]["day_ends"] if key.policy.clock else None
            seconds = (day_ends - lookup.at).total_seconds() if day_ends else None
            entry = _encode(validator, data)
            command = set_command(locate(key, lookup.at), entry, seconds)
            if self._redis and command:
                self._redis.send(command)
        return data


def _encode(validator: bytes, data: bytes) -> bytes:
    """Return an entry: a checksum of the rest, the result's validator, and the data."""
    rest = validator + data
    return _checksum(rest) + rest


def _decode(entry: bytes, validator: bytes) -> bytes | None:
    """Return the data; None if the entry is not what `_encode` returned with this validator."""
    rest = memoryview(entry)[_CHECKSUM_LENGTH:]
    if rest[: len(validator)] != validator or entry[:_CHECKSUM_LENGTH] != _checksum(rest):
        return None
    return bytes(rest[len(validator) :])


def _checksum(rest: bytes | memoryview) -> bytes:
    return b"%08x" % zlib.crc32(rest)
