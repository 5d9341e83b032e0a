"""Pages of a list as GraphQL connections. An opaque cursor marks the position of each entry."""

import base64
import binascii
from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from progress.errors import BadInput
from progress.query import auth
from progress.query.read_models.dead_letters import LetterKey
from progress.query.read_models.groups import LearnerKey, LearnerOrder
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
    edges: list[Edge]
    page_info: PageInfo
    total_count: int | None


def build_page(
    entries: Iterable[tuple[str, msgspec.Struct]], *, has_next: bool, total: int | None = None
) -> Page:
    edges = [Edge(cursor, node) for cursor, node in entries]
    return Page(edges, PageInfo(has_next, edges[-1].cursor if edges else None), total)


def encode_item_cursor(order: ItemOrder, key: ItemKey) -> str:
    return _encode_cursor([order, key.rank, key.item_id])


def decode_item_cursor(cursor: str | None, order: ItemOrder) -> ItemKey | None:
    """Return the item key in a cursor; raise BadInput if the cursor is for another order."""
    if cursor is None:
        return None
    made_for, rank, item_id = _decode_cursor(cursor, tuple[ItemOrder, float | None, str])
    if made_for is not order or not auth.is_id(item_id):
        raise BadInput(f"after: expected a cursor of a list ordered by {order} - found {made_for}")
    return ItemKey(rank, item_id)


def encode_learner_cursor(order: LearnerOrder, key: LearnerKey) -> str:
    return _encode_cursor([order, key.rank, key.user_id])


def decode_learner_cursor(cursor: str | None, order: LearnerOrder) -> LearnerKey | None:
    """Return the learner key in a cursor; raise BadInput if the cursor is for another order."""
    if cursor is None:
        return None
    made_for, rank, user_id = _decode_cursor(cursor, tuple[LearnerOrder, float, str])
    if made_for is not order or not auth.is_id(user_id):
        raise BadInput(f"after: expected a cursor of a list ordered by {order} - found {made_for}")
    return LearnerKey(rank, user_id)


def encode_difficulty_cursor(accuracy_rate: float, item_id: str) -> str:
    return _encode_cursor([accuracy_rate, item_id])


def decode_difficulty_cursor(cursor: str | None) -> ItemKey | None:
    if cursor is None:
        return None
    accuracy_rate, item_id = _decode_cursor(cursor, tuple[float, str])
    if not auth.is_id(item_id):
        raise _invalid_cursor()
    return ItemKey(accuracy_rate, item_id)


def encode_letter_cursor(key: LetterKey) -> str:
    return _encode_cursor([key.is_replayed, key.received_at, key.letter_id])


def decode_letter_cursor(cursor: str | None) -> LetterKey | None:
    if cursor is None:
        return None
    key = LetterKey(*_decode_cursor(cursor, tuple[bool, _Moment, _Number]))
    # In the years 1 and 9999, the conversion to UTC may leave the range of datetime.
    if not date.min.year < key.received_at.year < date.max.year:
        raise _invalid_cursor()
    return key


def encode_number_cursor(number: int) -> str:
    return _encode_cursor([number])


def decode_number_cursor(cursor: str | None) -> int | None:
    return None if cursor is None else _decode_cursor(cursor, tuple[_Number])[0]


def text_or_none(argument: Any) -> str | None:
    """Return a text argument; None if it is null or left out."""
    return argument if isinstance(argument, str) else None


def _encode_cursor(place: list[object]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode_cursor(cursor: str, type_: type[_T]) -> _T:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=type_)
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise _invalid_cursor() from None


def _invalid_cursor() -> BadInput:
    return BadInput("after: expected an endCursor of this list, exactly as it was returned")
