"""Persisted queries: documents that clients name by their hash, once they have sent them."""

import msgspec

from progress.api.execution import Asked
from progress.errors import PersistedQueryNotFound

_LARGEST = 8 << 20  # characters kept in the instance


class Documents:
    """The documents kept, by the SHA-256 of their text: the newest of them, up to a size."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._size = 0

    async def found(self, asked: Asked, sha256: str) -> Asked:
        """The request with its document; PersistedQueryNotFound where it is not kept."""
        if text := self._texts.get(sha256):
            return msgspec.structs.replace(asked, query=text)
        raise PersistedQueryNotFound

    async def keep(self, sha256: str, text: str) -> None:
        """Keep a document that was found good, under a hash that was found to be its own."""
        if sha256 in self._texts:
            return
        self._texts[sha256] = text
        self._size += len(text)
        while self._size > _LARGEST:
            self._size -= len(self._texts.pop(next(iter(self._texts))))
