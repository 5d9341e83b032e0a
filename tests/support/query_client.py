"""Questions put to the read models of a test's database, and their answers as plain rows."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from progress.query.read_models import reader

_T = TypeVar("_T")


class QueryClient:
    """An event loop in which questions are asked of one database."""

    def __init__(self, url: str):
        self._runner = asyncio.Runner()
        self._reader = reader.Reader(url)

    def __call__(self, question: Coroutine[Any, Any, _T]) -> _T:
        async def asked() -> _T:
            with reader.using(self._reader):
                return await question

        return self._runner.run(asked())

    def close(self) -> None:
        """End the connections and the loop."""
        self._runner.run(self._reader.close())
        self._runner.close()


@contextmanager
def open_client(url: str) -> Iterator[QueryClient]:
    """Questions for as long as the block lasts."""
    made = QueryClient(url)
    try:
        yield made
    finally:
        made.close()


def plain(row: msgspec.Struct | None) -> dict[str, Any] | None:
    """A row as the oracle has it."""
    return None if row is None else msgspec.structs.asdict(row)
