"""Cache policies: which answers are cached, under which Redis key, and for how long."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from progress.adapters.postgres import statements
from progress.projections import schema

_SUMMARY_TTL = timedelta(minutes=10)
_FINISHED_TTL = timedelta(hours=24)
# At UTC-12 a date ends 12 hours later, and a learner's day may start 23 hours after midnight.
_DAY_END_DELAY = timedelta(hours=36)
_MAX_BYTES = 512 * 1024  # a larger answer may take longer than the timeout of the cache

# KEYS: a hash. ARGV: a field, its value, the TTL of the hash in ms from its first field on.
_SET_FIELD = """
local key = KEYS[1]
if redis.call('HLEN', key) >= 100 and redis.call('HEXISTS', key, ARGV[1]) == 0 then
    redis.call('DEL', key)
end
redis.call('HSET', key, ARGV[1], ARGV[2])
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[3]) end
"""


class CachePolicy(NamedTuple):
    """The TTL in minutes of a root field's answer, and what it depends on besides the learner."""

    minutes: int
    batch: bool = False
    catalogue: bool = False
    clock: bool = False  # the learner's local date
    period: str | None = None  # the unit of its rows; finished periods have a longer TTL
    period_days: int = 0  # the most days from a period's first day to its last
    is_summary: bool = False  # cached under the learner's `summary:` key
    except_for: tuple[str, object] | None = None  # an argument's value that is not cached


class CacheKey(msgspec.Struct, frozen=True):
    """Identifies the answer of a root field about a learner."""

    name: str
    user_id: str
    params: str  # a hash of the field, its arguments, its selection and the learner
    policy: CachePolicy
    last_day: date | None = None  # of the requested periods


def cache_key(
    policy: CachePolicy | None,
    name: str,
    user_id: str,
    arguments: Mapping[str, Any],
    selection: str,
) -> CacheKey | None:
    """Return the key of a root field's answer; None if the answer is not cached.

    `arguments` are coerced, by their names in the schema. `selection` is the field's selection with
    its response keys, as normalized text.
    """
    if policy is None or arguments.get("asOf") or arguments.get("knownAt"):
        return None
    if policy.except_for and arguments.get(policy.except_for[0]) == policy.except_for[1]:
        return None
    identity = (_code_version(), name, user_id, sorted(arguments.items()), selection)
    params = hashlib.blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()
    last_day = _last_day(policy, arguments["to"]) if policy.period else None
    return CacheKey(name, user_id, params, policy, last_day)


def _last_day(policy: CachePolicy, to: date) -> date:
    """Return the latest day on which the period around `to` can end, within the calendar."""
    return date.fromordinal(min(to.toordinal() + policy.period_days, date.max.toordinal()))


class CacheLocation(NamedTuple):
    """A Redis key, the field if the key is a hash, and the TTL."""

    key: str
    field: str | None
    ttl: timedelta


def locate(key: CacheKey, at: datetime) -> CacheLocation:
    """Return the location of an answer that is requested at that moment."""
    if key.policy.is_summary:
        return CacheLocation(f"summary:{key.user_id}", key.params, _SUMMARY_TTL)
    if key.last_day and key.last_day < (at - _DAY_END_DELAY).date():
        period = f"stats:{key.policy.period}:{key.last_day}:{key.user_id}"
        return CacheLocation(period, key.params, _FINISHED_TTL)
    query = f"query:{key.name}:{key.user_id}:{key.params}"
    return CacheLocation(query, None, timedelta(minutes=key.policy.minutes))


def get_command(location: CacheLocation) -> Sequence[str]:
    """Return the Redis command that reads the entry."""
    if location.field is None:
        return ("GET", location.key)
    return ("HGET", location.key, location.field)


def set_command(
    location: CacheLocation, entry: bytes, max_seconds: float | None
) -> Sequence[str | bytes | int] | None:
    """Return the Redis command that writes the entry; None if it is expired or too large."""
    ttl = location.ttl.total_seconds()
    seconds = ttl if max_seconds is None else min(max_seconds, ttl)
    milliseconds = int(seconds * 1000)
    if milliseconds <= 0 or len(entry) > _MAX_BYTES:
        return None
    if location.field is None:
        return ("SET", location.key, entry, "PX", milliseconds)
    return ("EVAL", _SET_FIELD, 1, location.key, location.field, entry, milliseconds)


@functools.cache
def _code_version() -> str:
    """Return a hash of the read models' schema and of the code that answers from them."""
    digest = hashlib.sha256(schema.schema_name().encode())
    query = Path(__file__).parent.parent
    code = [query / name for name in ("read_models", "live", "graphql", "execution", "http")]
    for folder in (*code, statements.SQL / "read_models", statements.SQL / "projections"):
        for file in sorted([*folder.glob("*.py"), *folder.glob("*.sql")]):
            digest.update(file.read_bytes())
    return digest.hexdigest()
