"""Pages of ordered lists, and the keys after which a page can begin."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from progress.query.read_models.reader import Reader

_T = TypeVar("_T")


class ItemKey(msgspec.Struct, frozen=True):
    """The position of an item in an ordered list; `rank` ascends, None is last."""

    rank: float | None
    item_id: str


class LearnerKey(msgspec.Struct, frozen=True):
    """The position of a member in an ordered list; `rank` ascends."""

    rank: float
    user_id: str


class Page(msgspec.Struct, Generic[_T], frozen=True):
    """A page of a list; `total_count` is the number of entries in the whole list."""

    items: list[_T]
    has_next: bool
    total_count: int


async def read_page(
    reader: Reader,
    file: str,
    block: str,
    convert: Callable[[Mapping[str, Any]], _T],
    /,
    *,
    id_column: str = "item_id",
    first: int,
    constants: Mapping[str, str] | None = None,
    **parameters: object,
) -> Page[_T]:
    """Run a block; return a page of at most `first` rows, each converted by `convert`.

    `constants` and `parameters` are those of `Reader.fetch`.
    Every row has the column `total_count`. For an empty page, the block must return one row in
    which `id_column` is null.
    """
    rows = await reader.fetch(file, block, constants, first=first + 1, **parameters)
    found = [row for row in rows if row[id_column] is not None]
    items = [convert(dict(row)) for row in found[:first]]
    return Page(items, has_next=len(found) > first, total_count=rows[0]["total_count"])
