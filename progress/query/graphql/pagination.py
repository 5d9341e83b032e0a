"""Pages of a list: each entry has a cursor that says, opaquely, where the next page begins."""

import base64
import binascii
from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, TypeVar

import msgspec

from progress.errors import BadInput
from progress.query import auth
from progress.query.read_models.dead_letters import LetterKey
from progress.query.read_models.rows import ItemKey, ItemOrder

_T = TypeVar("_T")
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class PageInfo(msgspec.Struct, frozen=True):
    has_next_page: bool
    end_cursor: str | None


class Edge(msgspec.Struct, frozen=True):
    cursor: str
    node: msgspec.Struct


class Page(msgspec.Struct, frozen=True):
    """A connection, in the words of GraphQL."""

    edges: list[Edge]
    page_info: PageInfo
    total_count: int | None


def page(
    entries: Iterable[tuple[str, msgspec.Struct]], *, has_next: bool, total: int | None = None
) -> Page:
    """The entries with their cursors, as a connection."""
    edges = [Edge(cursor, node) for cursor, node in entries]
    return Page(edges, PageInfo(has_next, edges[-1].cursor if edges else None), total)


def item_cursor(order: ItemOrder, key: ItemKey) -> str:
    """The place of an item in a list in that order."""
    return _sealed([order, key.rank, key.item_id])


def item_key(cursor: str | None, order: ItemOrder) -> ItemKey | None:
    """The place that a cursor names; BadInput if it is not of a list in that order."""
    if cursor is None:
        return None
    made_for, rank, item_id = _opened(cursor, tuple[ItemOrder, float | None, str])
    if made_for is not order or not auth.is_id(item_id):
        raise BadInput(f"after: expected a cursor of a list ordered by {order} - found {made_for}")
    return ItemKey(rank, item_id)


def letter_cursor(key: LetterKey) -> str:
    """The place of a dead letter."""
    return _sealed([key.is_replayed, key.received_at, key.letter_id])


def letter_key(cursor: str | None) -> LetterKey | None:
    """The place that a cursor names."""
    if cursor is None:
        return None
    key = LetterKey(*_opened(cursor, tuple[bool, _Moment, _Number]))
    if not date.min.year < key.received_at.year < date.max.year:  # UTC may have no such moment
        raise _bad_cursor()
    return key


def number_cursor(number: int) -> str:
    """The place of an event in its stream, of an operation among all."""
    return _sealed([number])


def number(cursor: str | None) -> int | None:
    """The number that a cursor names."""
    return None if cursor is None else _opened(cursor, tuple[_Number])[0]


def _sealed(place: list[object]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _opened(cursor: str, shape: type[_T]) -> _T:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=shape)
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise _bad_cursor() from None


def _bad_cursor() -> BadInput:
    return BadInput("after: expected an endCursor of this list, as it was answered")
