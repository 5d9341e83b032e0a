"""The Redis keys that hold copies about one learner, and their deletion.

A learner's id may contain any character. The other parts of a key contain no colon, so that the id
can be read from the key.
"""

from collections.abc import Callable
from typing import Any

from progress.adapters.redis.resp import Command, ErrorReply
from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import parse_url
from progress.errors import CopiesUnavailable

_TIMEOUT_S = 10.0
_KEYS_PER_CALL = 1_000

# The number of parts before and after the learner's id in the keys of each kind.
_PARTS = {"summary": (1, 0), "query": (2, 1), "stats": (3, 0), "version": (3, 0), "rate": (1, 1)}


def summary_key(user_id: str) -> str:
    """Return the key of the learner's summary."""
    return f"summary:{user_id}"


def query_key(name: str, user_id: str, params: str) -> str:
    """Return the key of a root field's result; `params` is a hash of the request."""
    return f"query:{name}:{user_id}:{params}"


def period_key(period: str, last_day: object, user_id: str) -> str:
    """Return the key of results about finished periods."""
    return f"stats:{period}:{last_day}:{user_id}"


def rate_key(caller: str, minute: int) -> str:
    """Return the key of the number of the caller's requests in a minute."""
    return f"rate:{caller}:{minute}"


def find_learner(key: str) -> str | None:
    """Return the id of the learner whom a key is about, or None."""
    parts = key.split(":")
    before, after = _PARTS.get(parts[0], (0, 0))
    is_shared = parts[0] == "version" and parts[2:3] != ["learner"]  # see version_keys
    if not before or is_shared or len(parts) <= before + after:
        return None
    return ":".join(parts[before : len(parts) - after])


def delete_keys(url: str, user_id: str, check: Callable[[], None]) -> int:
    """Delete every key that holds a copy about the learner; return the number of these keys.

    `check` is called before each batch of about 1,000 keys. To stop the work, it raises an error.
    Raise CopiesUnavailable if Redis does not respond.
    """
    try:
        connection = RedisSocket(parse_url(url), seconds=_TIMEOUT_S)
        try:
            return _delete(connection, user_id, check)
        finally:
            connection.close()
    except OSError as error:
        raise CopiesUnavailable(f"copies in Redis cannot be deleted: {error}") from error


def _delete(connection: RedisSocket, user_id: str, check: Callable[[], None]) -> int:
    deleted, cursor = 0, b"0"
    while True:
        check()
        cursor, keys = _run(connection, ("SCAN", cursor, "COUNT", _KEYS_PER_CALL))
        theirs = [key for key in keys if find_learner(key.decode("utf-8", "replace")) == user_id]
        if theirs:
            deleted += _run(connection, ("DEL", *theirs))
        if cursor == b"0":
            return deleted


def _run(connection: RedisSocket, command: Command) -> Any:
    (reply,) = connection.run([command], seconds=_TIMEOUT_S)
    if isinstance(reply, ErrorReply):
        raise OSError(reply.text)
    return reply
