"""An event loop that runs queries of the read models over a test's database."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from progress.query.read_models import reader

_T = TypeVar("_T")


class QueryClient:
    """Runs queries over one database in its own event loop."""

    def __init__(self, url: str):
        self._runner = asyncio.Runner()
        self._reader = reader.Reader(url)

    def __call__(self, query: Coroutine[Any, Any, _T]) -> _T:
        async def use_reader() -> _T:
            with reader.using(self._reader):
                return await query

        return self._runner.run(use_reader())

    def close(self) -> None:
        """Close the connections and the loop."""
        self._runner.run(self._reader.close())
        self._runner.close()


@contextmanager
def open_client(url: str) -> Iterator[QueryClient]:
    """Open a client for the block."""
    made = QueryClient(url)
    try:
        yield made
    finally:
        made.close()


def plain(row: msgspec.Struct | None) -> dict[str, Any] | None:
    """Return a row in the oracle's format."""
    return None if row is None else msgspec.structs.asdict(row)
