"""Delete the Redis keys whose name or value mentions a text."""

import json
from collections.abc import Callable
from typing import Any

from progress.adapters.redis.resp import Command, ErrorReply
from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import parse_url
from progress.errors import CopiesUnavailable

_TIMEOUT_S = 10.0
_KEYS_PER_CALL = 100  # few, because each call blocks the server

# ARGV: the number of texts, the texts, and the keys to search.
_DELETE_SCRIPT = """
local deleted, last = 0, ARGV[1] + 1
local function mentions(value)
    for n = 2, last do
        if string.find(value, ARGV[n], 1, true) then return true end
    end
end
local function holds(key)
    if mentions(key) then return true end
    local kind = redis.call('TYPE', key).ok
    if kind == 'string' then return mentions(redis.call('GET', key)) end
    if kind ~= 'hash' then return false end
    for _, part in ipairs(redis.call('HGETALL', key)) do
        if mentions(part) then return true end
    end
end
for n = last + 1, #ARGV do
    if redis.call('EXISTS', ARGV[n]) == 1 and holds(ARGV[n]) then
        deleted = deleted + redis.call('DEL', ARGV[n])
    end
end
return deleted
"""


def delete_mentions(url: str, text: str, check: Callable[[], None]) -> int:
    """Delete every key that mentions the text, plain or JSON-escaped; return the number of keys.

    Redis holds only copies, so it does no harm to delete a key that mentions the text by chance.
    `check` is called before each batch of about 100 keys. To stop the work, it raises an error.
    Raise CopiesUnavailable if Redis does not respond.
    """
    escaped = (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
    texts = sorted({text, *escaped})
    try:
        connection = RedisSocket(parse_url(url), seconds=_TIMEOUT_S)
        try:
            return _delete(connection, texts, check)
        finally:
            connection.close()
    except OSError as error:
        raise CopiesUnavailable(f"copies in Redis cannot be deleted: {error}") from error


def _delete(connection: RedisSocket, texts: list[str], check: Callable[[], None]) -> int:
    deleted, cursor = 0, b"0"
    while True:
        check()
        cursor, keys = _run(connection, ("SCAN", cursor, "COUNT", _KEYS_PER_CALL))
        if keys:
            deleted += _run(connection, ("EVAL", _DELETE_SCRIPT, 0, len(texts), *texts, *keys))
        if cursor == b"0":
            return deleted


def _run(connection: RedisSocket, command: Command) -> Any:
    (reply,) = connection.run([command], seconds=_TIMEOUT_S)
    if isinstance(reply, ErrorReply):
        raise OSError(reply.text)
    return reply
