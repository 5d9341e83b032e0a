"""The cache of query results in Redis; the rate limit shares its round trip.

A cached result is never older than the read models, except after a failed publication. A fold
changes the versions in the database when it commits. After the commit, the projector publishes
copies of the versions to Redis (`progress.adapters.redis.commands`). A copy is never replaced
by an older version. Each copy expires after five seconds. If a publication fails, cached results
can therefore be out of date for at most five seconds.

- A cache entry has a validator, which consists of the versions seen before the data was read. The
  data may be newer than the validator, but never older.
- An entry is used if its validator equals the copies in Redis. If a copy is missing, the validator
  must equal the version in the database, which is read after the request has arrived.
- While Redis does not respond, results come from the database, and may be newer than the copies.
  Until these copies have expired, an instance therefore ignores them, so that a learner who saw
  such a result does not see an older one next.
- Versions remembered in the process may be old, so they are used only in validators of new
  entries. An entry with an old validator is never served.
- Concurrent callers share a computation. A caller does not join a computation that started more
  than a second ago. A caller does not use a shared result if a version in the result's validator is
  older than the version that the caller has seen.

A computation runs in the task of the caller that starts it. A separate, shielded task would add
12 % to the time of a computation that no other caller joins. `sql/projections/versions.sql` defines
the versions.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command, Reply
from progress.errors import RedisUnavailable, Unavailable
from progress.projections import schema
from progress.query.cache.entries import Day, RequestVersions, Validator, decode, encode
from progress.query.cache.keys import CacheKey, locate, set_command
from progress.query.cache.rate_limit import RateLimiter
from progress.query.cache.single_flight import Abandoned, SingleFlight
from progress.query.cache.versions import MAX_AGE_S, DatabaseVersions, LearnerVersion
from progress.query.read_models.reader import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client


_MAX_JOIN_AGE_S = 1.0
_MAX_LEARNERS = 10_000  # learners whose versions and days are remembered

Result = Literal["hit", "miss", "error", "off"]


class ComputedEntry(msgspec.Struct, frozen=True):
    """A result as JSON, and the learner's version if the computation read this version.

    The result is never older than the version.
    """

    data: bytes
    learner_version: int | None = None


Compute = Callable[[], Awaitable[ComputedEntry]]


class Lookup(msgspec.Struct):
    """The cached results for a request's keys, in the order of the keys; None for a miss."""

    entries: list[bytes | None]
    versions: RequestVersions
    bypass: bool
    result: Result = "off"  # "hit": every key was found


class ResponseCache:
    """One instance's access to the cache. Without `redis`, requests only share computations."""

    def __init__(self, redis: "Client | None", limiter: RateLimiter, reader: Reader) -> None:
        self._redis, self._limiter = redis, limiter
        self.versions = DatabaseVersions(reader)
        self._flights: SingleFlight[tuple[Validator | None, bytes]] = SingleFlight(_MAX_JOIN_AGE_S)
        self._days: dict[str, LearnerVersion] = {}
        self._ignores_copies_until = 0.0  # on the monotonic clock
        self._schema = schema.schema_name()
        kinds = (commands.SWAP, commands.BATCH, commands.CATALOGUE)
        self._shared_keys = [commands.shared_version_key(self._schema, kind) for kind in kinds]

    async def lookup(
        self,
        caller: str,
        keys: Sequence[CacheKey],
        *,
        at: datetime,
        requests: int = 1,
        bypass: bool = False,
    ) -> Lookup:
        """Look the keys up and count the caller's requests, in one Redis pipeline.

        Raise RateLimited if the caller exceeds the rate limit. With `bypass`, no key is looked up,
        but computed results are still cached.
        """
        seen = RequestVersions(at, time.monotonic(), dict.fromkeys(key.user_id for key in keys))
        lookup = Lookup([None] * len(keys), seen, bypass)
        try:
            if self._redis:
                await self._run_pipeline(self._redis, lookup, caller, keys, requests)
                return lookup
        except RedisUnavailable:
            lookup.result = "error"
            self._ignores_copies_until = time.monotonic() + commands.VERSION_TTL_S
        if requests:
            self._limiter.count_locally(caller, at, requests)
        return lookup

    async def get_or_compute(
        self, lookup: Lookup, key: CacheKey, compute: Compute, *, returns_version: bool = False
    ) -> bytes:
        """Compute and cache the result, or share a computation in progress.

        With `returns_version`, `compute` also returns the learner's version.
        """
        computation = functools.partial(
            self._compute, lookup, key, compute, returns_version=returns_version
        )
        outdated = None
        while not lookup.bypass:
            flight = self._flights.in_progress(key)
            if flight is None or flight is outdated:
                break
            try:
                validator, data = await flight.join()
            except Abandoned:
                continue
            if validator is None or lookup.versions.allows(validator, key):
                return data
            outdated = flight
        return (await self._flights.start(key, computation))[1]

    async def _run_pipeline(
        self,
        redis: "Client",
        lookup: Lookup,
        caller: str,
        keys: Sequence[CacheKey],
        requests: int,
    ) -> None:
        at = lookup.versions.at
        sent = self._lookup_commands(lookup, keys)
        if requests:
            sent.insert(0, self._limiter.increment_command(caller, at, requests))
        if not sent:
            return
        replies = await redis.run(*sent)
        if requests:
            self._limiter.check(replies.pop(0), caller, at, requests)
        if keys:
            lookup.result = "miss"
            if lookup.versions.since >= self._ignores_copies_until:
                lookup.versions.read_copies(replies[0])
            await self._use_entries(lookup, keys, replies[1:])

    def _lookup_commands(self, lookup: Lookup, keys: Sequence[CacheKey]) -> list[Command]:
        if not keys:
            return []
        learner_keys = map(self._learner_key, lookup.versions.learners)
        copies = commands.get_versions([*self._shared_keys, *learner_keys])
        if lookup.bypass:
            return [copies]
        at = lookup.versions.at
        locations = (locate(key, at) for key in keys)
        return [copies, *(commands.get_entry(each.key, each.field) for each in locations)]

    async def _use_entries(
        self, lookup: Lookup, keys: Sequence[CacheKey], replies: Sequence[Reply]
    ) -> None:
        entries = [
            (number, keys[number], entry)
            for number, reply in enumerate(replies)
            if isinstance(reply, bytes) and (entry := decode(reply))
        ]
        try:
            for _, key, _ in entries:
                await self._fetch_missing(lookup.versions, key)
        except Unavailable:
            return
        for number, key, (validator, data) in entries:
            if lookup.versions.is_current(validator, key):
                lookup.entries[number] = data
        if None not in lookup.entries:
            lookup.result = "hit"

    async def _fetch_missing(self, seen: RequestVersions, key: CacheKey) -> None:
        """Fetch the versions that the key needs and that Redis did not return."""
        if seen.lacks_version(key.policy):
            await self._fetch_shared_versions(seen, since=seen.since)
        if seen.learners[key.user_id] is None:
            await self._fetch_learner(seen, key.user_id)

    async def _fetch_shared_versions(self, seen: RequestVersions, *, since: float) -> None:
        shared = await self.versions.fetch_shared_versions(since=since)
        seen.fill(shared)
        numbers = (shared.schema, shared.batch, shared.catalogue)
        self._copy(seen, dict(zip(self._shared_keys, numbers, strict=True)), shared.known_at)

    async def _fetch_learner(self, seen: RequestVersions, user_id: str) -> LearnerVersion:
        learner = await self.versions.fetch_learner(user_id, seen.at, since=seen.since)
        seen.learners[user_id] = learner.version
        if learner.is_known:
            self._copy(seen, {self._learner_key(user_id): learner.version}, learner.known_at)
        self._days[user_id] = learner
        if len(self._days) > _MAX_LEARNERS:
            del self._days[next(iter(self._days))]
        return learner

    def _copy(self, seen: RequestVersions, numbers: dict[str, int], known_at: float) -> None:
        """Copy versions to Redis if they were read after the request arrived."""
        if self._redis and seen.since <= known_at:
            expires_at = commands.version_expires_at_ms(known_at)
            self._redis.send(commands.set_newer_versions(numbers, expires_at))

    async def _compute(
        self, lookup: Lookup, key: CacheKey, compute: Compute, *, returns_version: bool
    ) -> tuple[Validator | None, bytes]:
        """Compute and cache the result; the validator is None if the result cannot be cached."""
        if self._redis is None or lookup.result == "error":
            return None, (await compute()).data
        seen, user_id = lookup.versions, key.user_id
        if seen.lacks_version(key.policy):  # a validator's versions may be up to a second old
            await self._fetch_shared_versions(seen, since=time.monotonic() - MAX_AGE_S)
        if returns_version:
            data, version = await self._compute_with_version(seen, user_id, compute)
            day = None
        else:
            version, day = await self._version_before(seen, key)
            data = (await compute()).data
        if version is None or self._is_absent(user_id, version):
            return None, data
        validator = seen.validator(key, version, day)
        self._store(key, seen.at, validator, data)
        return validator, data

    async def _version_before(self, seen: RequestVersions, key: CacheKey) -> tuple[int, Day | None]:
        """Return the learner's version and, if the result depends on it, their day."""
        version = seen.learners[key.user_id]
        if version is None or key.policy.clock:
            return await self._learner_today(seen, key.user_id)
        return version, None

    async def _compute_with_version(
        self, seen: RequestVersions, user_id: str, compute: Compute
    ) -> tuple[bytes, int | None]:
        """Compute the result; remember the learner's version that it has read, and copy it."""
        started_at = time.monotonic()
        computed = await compute()
        version = computed.learner_version
        if version is not None and version != seen.learners[user_id]:
            seen.learners[user_id] = version
            self._copy(seen, {self._learner_key(user_id): version}, started_at)
        return computed.data, version

    def _is_absent(self, user_id: str, version: int) -> bool:
        """Return whether the learner is unknown or deleted at this version."""
        learner = self._days.get(user_id)
        return learner is not None and learner.version == version and not learner.is_known

    def _learner_key(self, user_id: str) -> str:
        return commands.learner_version_key(self._schema, user_id)

    async def _learner_today(self, seen: RequestVersions, user_id: str) -> tuple[int, Day]:
        """Return the learner's version and the learner's day.

        Call this before the result is computed, so that the result is never older than the version.
        """
        known = self._days.get(user_id)
        is_today = known and known.is_same_day(seen.at)
        if not known or not is_today or known.version != seen.learners[user_id]:
            known = await self._fetch_learner(seen, user_id)
        return known.version, (known.day_begins, known.day_ends)

    def _store(self, key: CacheKey, at: datetime, validator: Validator, data: bytes) -> None:
        seconds = None if validator.day is None else validator.day[1] - at.timestamp()
        entry = encode(validator, data)
        command = set_command(locate(key, at), entry, seconds)
        if self._redis and command:
            self._redis.send(command)
