"""The cache of query results in Redis, and the rate limit, which shares its round trip.

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

Requests are counted by caller and clock minute: in Redis or, without Redis, in each instance.
"""

import asyncio
import contextlib
import functools
import hashlib
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from progress.adapters import request_scope
from progress.adapters.postgres import statements
from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command, Reply
from progress.errors import DeadlineExceeded, RateLimited, RedisUnavailable, Unavailable
from progress.projections import schema
from progress.query.read_models.reader import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

T = TypeVar("T")

_SUMMARY_TTL = timedelta(minutes=10)
_FINISHED_TTL = timedelta(hours=24)
# In the last time zone (UTC-12), a date ends 12 hours later than in UTC. A preference sets the hour
# (0 to 23) at which a learner's days start. A learner's day therefore ends at most 35 hours after
# the end of the same date in UTC.
_DAY_END_DELAY = timedelta(hours=36)
_MAX_ENTRY_BYTES = 512 * 1024  # a larger entry might take longer than the Redis client's timeout


class CachePolicy(NamedTuple):
    """The TTL in minutes of a root field's result, and what the result depends on.

    Every result depends on the learner. With `clock`, the result also depends on the learner's
    local date. `period` names the period that each row covers, for example weekly. If all periods
    of a result are finished, the result has a longer TTL. `period_days` is the largest number of
    days from a period's first day to its last. `except_for` is an argument and a value: if the
    argument has this value, the result is not cached.
    """

    minutes: int
    batch: bool = False
    catalogue: bool = False
    clock: bool = False
    period: str | None = None
    period_days: int = 0
    is_summary: bool = False  # cached under the learner's `summary:` key
    except_for: tuple[str, object] | None = None

    def of_the_past(self) -> "CachePolicy":
        """Return the policy of results about a past moment.

        They do not change with the clock. The batch job does not compute them, so that they depend
        on the catalogue itself instead.
        """
        return CachePolicy(self.minutes, catalogue=self.catalogue or self.batch)


class CacheKey(msgspec.Struct, frozen=True):
    """The identity of a root field's result for one learner."""

    name: str
    user_id: str
    params: str  # a hash of the code, the field, the learner, the arguments and the selection
    policy: CachePolicy
    last_day: date | None = None  # the last day of the requested periods


def cache_key(
    policy: CachePolicy | None,
    name: str,
    user_id: str,
    arguments: Mapping[str, Any],
    selection: str,
) -> CacheKey | None:
    """Return the key of a root field's result; None if the result must not be cached.

    `arguments` are the coerced values by argument name. `selection` is the normalized text of the
    field's selection, including the response keys (`Field.canonical_text`).
    """
    if policy is None:
        return None
    if arguments.get("asOf") or arguments.get("knownAt"):
        policy = policy.of_the_past()
    if policy.except_for and arguments.get(policy.except_for[0]) == policy.except_for[1]:
        return None
    identity = (_code_version(), name, user_id, sorted(arguments.items()), selection)
    params = hashlib.blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()
    last_day = None
    if policy.period:  # the latest possible last day of the period that contains the date `to`
        day = arguments["to"].toordinal() + policy.period_days
        last_day = date.fromordinal(min(day, date.max.toordinal()))
    return CacheKey(name, user_id, params, policy, last_day)


class CacheLocation(NamedTuple):
    """A Redis key, the field if the key holds a hash, and the TTL."""

    key: str
    field: str | None
    ttl: timedelta


def locate(key: CacheKey, at: datetime) -> CacheLocation:
    if key.policy.is_summary:
        return CacheLocation(commands.summary_key(key.user_id), key.params, _SUMMARY_TTL)
    if key.last_day and key.last_day < (at - _DAY_END_DELAY).date():
        period = commands.period_key(key.policy.period or "", key.last_day, key.user_id)
        return CacheLocation(period, key.params, _FINISHED_TTL)
    query = commands.query_key(key.name, key.user_id, key.params)
    return CacheLocation(query, None, timedelta(minutes=key.policy.minutes))


def set_command(location: CacheLocation, entry: bytes, max_seconds: float | None) -> Command | None:
    """Return the Redis command that writes the entry; None if the entry is expired or too large."""
    ttl = location.ttl.total_seconds()
    seconds = ttl if max_seconds is None else min(max_seconds, ttl)
    milliseconds = int(seconds * 1000)
    if milliseconds <= 0 or len(entry) > _MAX_ENTRY_BYTES:
        return None
    return commands.set_entry(location.key, location.field, entry, milliseconds)


@functools.cache
def _code_version() -> str:
    """Return a hash of the read models' schema and of the code that queries the read models."""
    digest = hashlib.sha256(schema.schema_name().encode())
    query = Path(__file__).parent
    code = [query / name for name in ("read_models", "live", "graphql", "execution", "http")]
    for folder in (*code, statements.SQL / "read_models", statements.SQL / "projections"):
        for file in sorted([*folder.glob("*.py"), *folder.glob("*.sql")]):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Abandoned(Exception):
    """The caller that was computing the result was cancelled, so another caller must compute it."""


class Flight(Generic[T]):
    """A computation in progress, with the deadline of the request that started it."""

    __slots__ = ("_waiters", "deadline", "started_at")

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.deadline = request_scope.current().deadline
        self._waiters: list[asyncio.Future[T]] = []

    async def join(self) -> T:
        """Wait for the result and return it.

        Raise Abandoned if the computation was cancelled, and DeadlineExceeded at the deadline of
        the joining request.
        """
        scope = request_scope.current()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if scope.deadline >= self.deadline:
            return await waiter
        try:
            async with asyncio.timeout(scope.remaining()):
                return await waiter
        except TimeoutError:
            raise DeadlineExceeded("a shared computation did not end before the deadline") from None

    def resolve(self, result: T) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(result)

    def fail(self, error: BaseException) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error if isinstance(error, Exception) else Abandoned())


class SingleFlight(Generic[T]):
    """Computations in progress, by key.

    A caller does not join a computation that started more than `max_age` seconds ago. A computation
    may fail at its deadline. A caller therefore joins only if the caller's deadline is at most
    `max_age` seconds after the computation's deadline.
    """

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._flights: dict[Hashable, Flight[T]] = {}

    async def join(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        while flight := self.in_progress(key):
            with contextlib.suppress(Abandoned):
                return await flight.join()
        return await self.start(key, compute)

    def in_progress(self, key: Hashable) -> Flight[T] | None:
        """Return the flight that the caller may join, if any."""
        flight = self._flights.get(key)
        if flight is None or time.monotonic() - flight.started_at >= self._max_age:
            return None
        earliest = request_scope.current().deadline - self._max_age
        return flight if flight.deadline >= earliest else None

    async def start(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Compute the result in a new flight, which other callers may join."""
        flight: Flight[T] = Flight()
        self._flights[key] = flight
        try:
            result = await compute()
        except BaseException as error:
            self._remove(key, flight)
            flight.fail(error)
            raise
        self._remove(key, flight)
        flight.resolve(result)
        return result

    def _remove(self, key: Hashable, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


MAX_AGE_S = 1.0
_REFRESH_TIMEOUT_S = 0.05


class LearnerVersion(msgspec.Struct, frozen=True):
    """A learner's version, and the end of their local day.

    The cache holds nothing about a learner who is unknown or deleted, not even the version.
    """

    version: int
    is_known: bool
    day_ends: datetime
    at: datetime  # A time on that day.
    known_at: float  # The monotonic time before the query.

    def is_same_day(self, at: datetime) -> bool:
        return self.at <= at < self.day_ends


class SharedVersions(msgspec.Struct, frozen=True):
    """The versions that all learners share, and the position that the projections have reached."""

    schema: int
    catalogue: int
    batch: int
    position: int
    recorded_at: datetime | None  # when the event at that position was recorded
    known_at: float

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.known_at < MAX_AGE_S


class ProjectedTo(msgspec.Struct, frozen=True):
    """A position of the log; the read models contain all events up to this position."""

    position: str  # A number of 64 bits, as text.
    time: datetime | None  # When the event at this position was recorded.


class DatabaseVersions:
    """A reader of versions in the database; concurrent callers share one statement.

    A method with the argument `since`, a time of the monotonic clock, returns versions that were
    read after this time.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.last: SharedVersions | None = None
        self._learners: SingleFlight[LearnerVersion] = SingleFlight(MAX_AGE_S)
        self._shared: SingleFlight[SharedVersions] = SingleFlight(MAX_AGE_S)

    async def fetch_learner(self, user_id: str, at: datetime, *, since: float) -> LearnerVersion:
        """Return the learner's version and the local day of the time `at`, or raise Unavailable."""

        async def read() -> LearnerVersion:
            known_at = time.monotonic()
            (row,) = await self._reader.fetch(
                "projections/versions", "learner", user_id=user_id, now=at
            )
            return LearnerVersion(row["learner"], row["is_known"], row["day_ends"], at, known_at)

        for _ in range(2):  # the first joined read may have started before `since`
            learner = await self._learners.join(user_id, read)
            if learner.known_at >= since and learner.is_same_day(at):
                return learner
        return await read()

    async def fetch_shared_versions(self, *, since: float) -> SharedVersions:
        while self.last is None or self.last.known_at < since:
            self.last = await self._shared.join("", self._read_shared_versions)
        return self.last

    async def projected_to(self) -> ProjectedTo | None:
        """Return a position that the projections have reached; None if no position is known.

        Call this before the data is read, so that the data is never older than the position.
        If the database takes more than 50 ms, the last known position is returned.
        """
        last = self.last
        if last is None or not last.is_fresh:
            since = time.monotonic() - MAX_AGE_S
            refresh = asyncio.create_task(self.fetch_shared_versions(since=since))
            refresh.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({refresh}, timeout=_REFRESH_TIMEOUT_S if last else None)
            last = self.last
        return ProjectedTo(str(last.position), last.recorded_at) if last else None

    async def _read_shared_versions(self) -> SharedVersions:
        known_at = time.monotonic()
        (row,) = await self._reader.fetch("projections/versions", "shared")
        return SharedVersions(**row, known_at=known_at)


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


class Validator(NamedTuple):
    """The identity of a result, and the versions that it depends on; other versions are None."""

    params: str  # the same as in the cache key, so that an entry under a wrong key is not used
    learner: int
    schema: int
    batch: int | None
    catalogue: int | None
    expires_at: float | None  # in seconds since 1970; the end of the learner's day or of an hour


class RequestVersions(msgspec.Struct):
    """The versions seen by a request.

    The validator of a cache entry is compared only with versions that were read after the request
    arrived. The validator of a new entry may contain versions that are up to a second old.
    """

    at: datetime  # When the request arrived.
    since: float  # When the request arrived, on the monotonic clock.
    learners: dict[str, int | None]
    schema: int | None = None
    batch: int | None = None
    catalogue: int | None = None

    def read_copies(self, reply: Reply) -> None:
        """Set the versions to the copies that Redis returned; a missing copy becomes None."""
        if isinstance(reply, list) and len(reply) == 3 + len(self.learners):
            versions = [
                int(copy) if isinstance(copy, bytes) and _VERSION.fullmatch(copy) else None
                for copy in reply
            ]
            self.schema, self.batch, self.catalogue, *learners = versions
            self.learners = dict(zip(self.learners, learners, strict=True))

    def lacks_version(self, policy: CachePolicy) -> bool:
        return (
            self.schema is None
            or (policy.batch and self.batch is None)
            or (policy.catalogue and self.catalogue is None)
        )

    def fill(self, shared: SharedVersions) -> None:
        self.schema = shared.schema if self.schema is None else self.schema
        self.batch = shared.batch if self.batch is None else self.batch
        self.catalogue = shared.catalogue if self.catalogue is None else self.catalogue

    def validator(self, key: CacheKey, learner: int, day_ends: datetime | None) -> Validator:
        """Return the validator of a result that is computed after these versions were seen."""
        policy = key.policy
        if self.schema is None or self.lacks_version(policy):
            raise ValueError("expected the shared versions to be read before the validator")
        return Validator(
            key.params,
            learner,
            self.schema,
            self.batch if policy.batch else None,
            self.catalogue if policy.catalogue else None,
            day_ends.timestamp() if policy.clock and day_ends else None,
        )

    def is_current(self, validator: Validator, key: CacheKey) -> bool:
        policy = key.policy
        return (
            validator.params == key.params
            and validator.learner == self.learners.get(key.user_id)
            and validator.schema == self.schema
            and validator.batch == (self.batch if policy.batch else None)
            and validator.catalogue == (self.catalogue if policy.catalogue else None)
            and self._is_unexpired(validator)
        )

    def allows(self, validator: Validator, key: CacheKey) -> bool:
        """Return False if the validator has expired, or if the request has seen a newer version."""
        pairs = (
            (validator.learner, self.learners.get(key.user_id)),
            (validator.schema, self.schema),
            (validator.batch, self.batch),
            (validator.catalogue, self.catalogue),
        )
        newer = any(own is not None and seen is not None and seen > own for own, seen in pairs)
        return not newer and self._is_unexpired(validator)

    def _is_unexpired(self, validator: Validator) -> bool:
        return validator.expires_at is None or self.at.timestamp() < validator.expires_at


def encode(validator: Validator, data: bytes) -> bytes:
    """Return an entry: a checksum of the rest, the validator as JSON, a line feed, and the data."""
    rest = msgspec.json.encode(validator) + b"\n" + data
    return _checksum(rest) + rest


def decode(entry: bytes) -> tuple[Validator, bytes] | None:
    """Return the validator and the data; None if the entry is not what `encode` returned."""
    rest = memoryview(entry)[_CHECKSUM_LENGTH:]
    if entry[:_CHECKSUM_LENGTH] != _checksum(rest):
        return None
    head, _, data = bytes(rest).partition(b"\n")
    try:
        return _decode_validator(head), data
    except msgspec.DecodeError:
        return None


def _checksum(rest: bytes | memoryview) -> bytes:
    return b"%08x" % zlib.crc32(rest)


_decode_validator = msgspec.json.Decoder(Validator).decode
_CHECKSUM_LENGTH = 8
_VERSION = re.compile(rb"[0-9]{1,19}")


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
        version, day_ends = seen.learners[user_id], None
        if not returns_version and (version is None or key.policy.clock):
            version, day_ends = await self._learner_today(seen, user_id)
        started_at = time.monotonic()
        computed = await compute()
        if returns_version:
            version = computed.learner_version
            self._use_returned_version(seen, user_id, version, started_at)
        if version is None or self._is_absent(user_id, version):
            return None, computed.data
        validator = seen.validator(key, version, day_ends)
        self._store(key, seen.at, validator, computed.data)
        return validator, computed.data

    def _is_absent(self, user_id: str, version: int) -> bool:
        """Return whether the learner is unknown or deleted at this version."""
        learner = self._days.get(user_id)
        return learner is not None and learner.version == version and not learner.is_known

    def _use_returned_version(
        self, seen: RequestVersions, user_id: str, version: int | None, started_at: float
    ) -> None:
        """Store the learner's version that `compute` returned, and copy it to Redis."""
        if version is not None and version != seen.learners[user_id]:
            seen.learners[user_id] = version
            self._copy(seen, {self._learner_key(user_id): version}, started_at)

    def _learner_key(self, user_id: str) -> str:
        return commands.learner_version_key(self._schema, user_id)

    async def _learner_today(self, seen: RequestVersions, user_id: str) -> tuple[int, datetime]:
        """Return the learner's version and the end of the learner's day.

        Call this before the result is computed, so that the result is never older than the version.
        """
        known = self._days.get(user_id)
        is_today = known and known.is_same_day(seen.at)
        if not known or not is_today or known.version != seen.learners[user_id]:
            known = await self._fetch_learner(seen, user_id)
        return known.version, known.day_ends

    def _store(self, key: CacheKey, at: datetime, validator: Validator, data: bytes) -> None:
        seconds = None if validator.expires_at is None else validator.expires_at - at.timestamp()
        entry = encode(validator, data)
        command = set_command(locate(key, at), entry, seconds)
        if self._redis and command:
            self._redis.send(command)
