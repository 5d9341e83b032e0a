"""Persisted queries: documents that clients name by their hash, once they have sent them."""

from progress.errors import PersistedQueryNotFound
from progress.query.cache.cache import Cache
from progress.query.http import requests

_LARGEST = 8 << 20  # characters kept in the instance


class Documents:
    """The documents kept, by the SHA-256 of their text: for all instances in the cache.

    The newest are also kept in the instance, up to a size: a text never changes under its hash.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._texts: dict[str, str] = {}
        self._size = 0

    async def found(self, sha256: str) -> str:
        """The document; PersistedQueryNotFound where it is not kept."""
        if text := self._texts.get(sha256):
            return text
        text = await self._cache.document(sha256) if requests.is_sha256(sha256) else None
        # Whoever writes to the cache shall not say what is executed.
        if text is None or requests.sha256(text) != sha256:
            raise PersistedQueryNotFound
        self._remember(sha256, text)
        return text

    async def keep(self, sha256: str, text: str) -> None:
        """Keep a document that was found good, under a hash that was found to be its own."""
        if sha256 not in self._texts:
            self._remember(sha256, text)
            await self._cache.keep_document(sha256, text)

    def _remember(self, sha256: str, text: str) -> None:
        self._size += 0 if sha256 in self._texts else len(text)
        self._texts[sha256] = text
        while self._size > _LARGEST:
            self._size -= len(self._texts.pop(next(iter(self._texts))))
