"""The maintenance of Redis, with redis-py's own client.

Import this module at first use, because it imports redis-py.
"""

from collections.abc import Callable
from typing import Any

from redis import Redis, RedisError, ResponseError

from progress.adapters.redis import commands, connections
from progress.adapters.redis.url import parse_url
from progress.errors import CopiesUnavailable, RedisUnavailable

_TIMEOUT_S = 10.0
_KEYS_PER_CALL = 1_000


def delete_keys(url: str, user_id: str, check: Callable[[], None]) -> int:
    """Delete every key that holds a copy about the learner; return the number of these keys.

    `check` is called before each batch of about 1,000 keys. To stop the work, it raises an error.
    Raise CopiesUnavailable if Redis does not respond.
    """
    deleted = cursor = 0
    try:
        with connections.create_blocking(parse_url(url), _TIMEOUT_S) as redis:
            while True:
                check()
                cursor, keys = _run(redis, "SCAN", cursor, "COUNT", _KEYS_PER_CALL)
                theirs = [key for key in keys if _learner_of(key) == user_id]
                if theirs:
                    deleted += _run(redis, "DEL", *theirs)
                if not cursor:
                    return deleted
    except RedisUnavailable as error:
        raise CopiesUnavailable(f"copies in Redis cannot be deleted: {error}") from error


def delete_everything(url: str) -> None:
    """Delete all keys; raise RedisUnavailable if Redis does not respond."""
    with connections.create_blocking(parse_url(url), _TIMEOUT_S) as redis:
        _run(redis, "FLUSHDB")


def check(url: str) -> None:
    """Raise RedisUnavailable if Redis does not respond, or would reject what is written to it."""
    with connections.create_blocking(parse_url(url), _TIMEOUT_S) as redis:
        _run(redis, *commands.check_writes())


def _run(redis: Redis, *command: bytes | str | int) -> Any:
    """Return the reply to the command; raise RedisUnavailable if Redis rejects it."""
    try:
        return redis.execute_command(*command)
    except (RedisError, OSError) as error:
        is_rejection = isinstance(error, ResponseError) and not connections.is_outage(error)
        what = f"rejects {command[0]!s}" if is_rejection else "is unavailable"
        raise RedisUnavailable(f"Redis {what}: {error}") from error


def _learner_of(key: bytes) -> str | None:
    return commands.find_learner(key.decode("utf-8", "replace"))
