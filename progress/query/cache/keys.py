"""The key of a result: what it depends on, where it is in Redis, and for how long."""

import functools
import hashlib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from progress import files
from progress.adapters.redis import commands
from progress.adapters.redis.commands import Command
from progress.projections import schema

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
    argument has this value, the result is not cached. With any value of the argument `except_with`,
    it is not cached either, nor about the past. `own_words` says that the learner is shown more
    than others.
    """

    minutes: int
    batch: bool = False
    catalogue: bool = False
    clock: bool = False
    period: str | None = None
    period_days: int = 0
    is_summary: bool = False  # cached under the learner's `summary:` key
    except_for: tuple[str, object] | None = None
    except_with: str | None = None
    own_words: bool = False

    def of_the_past(self) -> "CachePolicy":
        """Return the policy of results about a past moment.

        They do not change with the clock. The batch job does not compute them, so that they depend
        on the catalogue itself instead.
        """
        catalogue = self.catalogue or self.batch
        return CachePolicy(self.minutes, catalogue=catalogue, own_words=self.own_words)


class CacheKey(msgspec.Struct, frozen=True):
    """The identity of a root field's result for one learner."""

    name: str
    user_id: str
    params: str  # a hash of the code, the field, the learner, the reader, the arguments, …
    policy: CachePolicy
    last_day: date | None = None  # the last day of the requested periods


def cache_key(
    policy: CachePolicy | None,
    name: str,
    user_id: str,
    arguments: Mapping[str, Any],
    selection: str,
    *,
    is_learner: bool = False,
) -> CacheKey | None:
    """Return the key of a root field's result; None if the result must not be cached.

    `arguments` are the coerced values by argument name. `selection` is the normalized text of the
    field's selection, including the response keys (`Field.canonical_text`). `is_learner` says
    whether the result is for the learner.
    """
    if policy is None or arguments.get(policy.except_with or "") is not None:
        return None
    if arguments.get("asOf") or arguments.get("knownAt"):
        policy = policy.of_the_past()
    if policy.except_for and arguments.get(policy.except_for[0]) == policy.except_for[1]:
        return None
    shows_own = policy.own_words and is_learner
    identity = (_code_version(), name, user_id, shows_own, sorted(arguments.items()), selection)
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
    package, sql = files.PACKAGE, files.SQL
    code = [*(package / "query").rglob("*.py"), *(package / "projections").rglob("*.py")]
    queries = [sql / name for name in ("read_models", "projections", "query")]
    for file in sorted([*code, *(file for folder in queries for file in folder.rglob("*.sql"))]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
