"""Query a test's database through the typed Python API; convert the results to plain rows."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader

_T = TypeVar("_T")


class QueryClient:
    """The typed queries on one database, and an event loop that runs them."""

    def __init__(self, url: str):
        self._runner = asyncio.Runner()
        self._reader = Reader(url)
        self.queries = Queries(self._reader)

    def __call__(self, query: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(query)

    def close(self) -> None:
        """Close the connections and the loop."""
        self._runner.run(self._reader.close())
        self._runner.close()


def plain(row: msgspec.Struct | None) -> dict[str, Any] | None:
    """Return a row in the oracle's format."""
    return None if row is None else msgspec.structs.asdict(row)
