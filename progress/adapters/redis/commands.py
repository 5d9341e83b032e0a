"""The commands that Progress sends to Redis, named after their purpose, and their keys.

A client sends commands with `run(*commands)`, in one round trip. If Redis rejects a command, its
reply is an exception.

A learner's id may contain any character. The other parts of a key contain no colon, so that the id
can be read from the key.
"""

from typing import TypeAlias

Command = tuple[bytes | str | int, ...]
Reply: TypeAlias = "bytes | int | list[Reply] | Exception | None"

_POSTER_TTL_S = 40 * 24 * 3600

# The number of parts between the kind of a key and the learner's id, and after the id. In all other
# keys about a learner, such as each counter of a caller, the id is all that follows the kind.
_PARTS = {"query": (1, 1), "stats": (2, 0)}

# KEYS: a hash. ARGV: a field, the field's value, and the TTL in ms for a new hash.
_SET_FIELD_SCRIPT = """
local key = KEYS[1]
local length = redis.pcall('HLEN', key)  -- an error if the key has another type
if type(length) ~= 'number' or length >= 100 and redis.call('HEXISTS', key, ARGV[1]) == 0 then
    redis.call('DEL', key)
end
redis.call('HSET', key, ARGV[1], ARGV[2])
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[3]) end
"""

# KEYS: a counter, a hash whose only field is its window. ARGV: a window, and what to add in it.
# If the memory is full, Redis evicts first what expires first. A counter expires two days after its
# window began, so all cache entries, which live for a day at most, go before a counter that still
# limits. At the turn of a window, what an instance with a late clock counts is in the newer window;
# a window further ahead is of a wrong clock, and ends. What is taken back late counts nowhere.
_COUNT_SCRIPT = """
local key, window, number = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local newest = tonumber(redis.call('HKEYS', key)[1]) or 0
if newest > window and (newest == window + 1 or number < 0) then
    window, number = newest, math.max(number, 0)
end
local sum = redis.call('HINCRBY', key, window, number)
if newest ~= window then
    redis.call('HDEL', key, newest)
    redis.call('EXPIRE', key, 172800)
end
return sum
"""


def summary_key(user_id: str) -> str:
    return f"summary:{user_id}"


def query_key(name: str, user_id: str, params: str) -> str:
    """Return the key of a root field's result; `params` is a hash of the request."""
    return f"query:{name}:{user_id}:{params}"


def period_key(period: str, last_day: object, user_id: str) -> str:
    """Return the key of results about finished periods."""
    return f"stats:{period}:{last_day}:{user_id}"


def count_key(kind: str, caller: str) -> str:
    """Return the key of a number of the caller: requests in a minute, the first day of a post."""
    return f"{kind}:{caller}"


def find_learner(key: str) -> str | None:
    """Return the id of the learner whom a key is about, or None."""
    kind, *parts = key.split(":")
    before, after = _PARTS.get(kind, (0, 0))
    return ":".join(parts[before : len(parts) - after]) or None


def get_entry(key: str, field: str | None) -> Command:
    """Get a cache entry; `field` is its field if the key holds a hash."""
    return ("GET", key) if field is None else ("HGET", key, field)


def set_entry(key: str, field: str | None, entry: bytes, ttl_ms: int) -> Command:
    """Set a cache entry. A hash has at most 100 fields, and keeps the TTL of its first field."""
    if field is None:
        return ("SET", key, entry, "PX", ttl_ms)
    return ("EVAL", _SET_FIELD_SCRIPT, 1, key, field, entry, ttl_ms)


def count(kind: str, caller: str, window: int, number: int) -> Command:
    """Add to a number of the caller in a minute, an hour or a day; the reply is the sum."""
    return ("EVAL", _COUNT_SCRIPT, 1, count_key(kind, caller), window, number)


def find_poster(user_id: str) -> Command:
    """Get the UTC day on which a learner posted first, as far as the mark tells."""
    return ("GET", count_key("poster", user_id))


def mark_poster(user_id: str, day: int) -> Command:
    """Mark a learner who has posted, for 40 days, unless they are marked."""
    return ("SET", count_key("poster", user_id), day, "NX", "EX", _POSTER_TTL_S)


def check_writes() -> Command:
    """Delete nothing, in a script; Redis rejects this while it would reject writes.

    It does so while it is a replica, and always if it or a proxy allows no scripts.
    """
    return ("EVAL", "return redis.call('DEL', KEYS[1])", 1, "writable")


def ping() -> Command:
    """Check that Redis responds; the reply comes after all earlier commands were run."""
    return ("PING",)
