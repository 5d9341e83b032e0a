"""Persisted queries (APQ): a client sends a document once, and afterwards only its hash."""

import contextlib
import sys
from typing import TYPE_CHECKING

from progress.adapters.redis import commands
from progress.errors import PersistedQueryNotFound, RedisUnavailable
from progress.query.http import protocol

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_MAX_BYTES = 16 << 20  # of all documents in this instance together
_ENTRY_BYTES = 300  # the memory of a hash and of its place in the dict


class PersistedQueries:
    """Documents, stored in Redis under the SHA-256 of their text.

    The instance keeps copies of recent documents. The copies are never invalidated, because the
    text for a hash never changes.
    """

    def __init__(self, redis: "Client | None") -> None:
        self._redis = redis
        self._texts: dict[str, str] = {}
        self._size = 0

    async def get(self, sha256: str) -> str:
        if text := self._texts.get(sha256):
            return text
        text = await self._fetch(sha256) if protocol.is_sha256(sha256) else None
        # The hash is checked again, so that nobody can change a document by writing to Redis.
        if text is None or protocol.sha256(text) != sha256:
            raise PersistedQueryNotFound
        self._remember(sha256, text)
        return text

    async def store(self, sha256: str, text: str) -> None:
        """Store a valid document under its hash, which the caller has checked.

        Store it in Redis even if this instance has a copy. A client sends the document only if some
        instance did not find it. The document may therefore have expired in Redis.
        """
        self._remember(sha256, text)
        if self._redis:
            with contextlib.suppress(RedisUnavailable):
                await self._redis.run(commands.set_document(sha256, text))

    async def _fetch(self, sha256: str) -> str | None:
        if self._redis is None:
            return None
        try:
            (reply,) = await self._redis.run(commands.get_document(sha256))
        except RedisUnavailable:
            return None
        return reply.decode(errors="replace") if isinstance(reply, bytes) else None

    def _remember(self, sha256: str, text: str) -> None:
        self._size += 0 if sha256 in self._texts else _measure(text)
        self._texts[sha256] = text
        while self._size > _MAX_BYTES:
            self._size -= _measure(self._texts.pop(next(iter(self._texts))))


def _measure(text: str) -> int:
    return _ENTRY_BYTES + sys.getsizeof(text)
