"""Pages of a list as GraphQL connections. An opaque cursor marks the position of each entry."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from progress import auth
from progress.errors import BadInput
from progress.query.read_models import reader, rows
from progress.query.read_models.accesses import Access
from progress.query.read_models.administration import LetterKey
from progress.query.read_models.groups import GroupKey, LearnerKey, LearnerOrder

_T = TypeVar("_T")
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class PageInfo(msgspec.Struct, frozen=True):
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Edge(msgspec.Struct, frozen=True):
    cursor: str
    node: msgspec.Struct


class Page(msgspec.Struct, frozen=True):
    edges: list[Edge]
    page_info: PageInfo
    total_count: int | None


def build_page(page: reader.Page[tuple[Any, Any]], after: str | None, *order: str) -> Page:
    """Build a connection of (key, record) pairs; a cursor has the list's order and the key."""
    keyed = (([*order, *msgspec.structs.astuple(key)], node) for key, node in page.items)
    return _connect(keyed, after, has_next=page.has_next, total=page.total_count)


def build_keyed_page(
    nodes: Sequence[_T], after: str | None, size: int, key: Callable[[_T], object]
) -> Page:
    """Build a connection of at most `size` nodes; `nodes` has one more if another page follows."""
    keyed = (([key(node)], node) for node in nodes[:size])
    return _connect(keyed, after, has_next=len(nodes) > size)


def _connect(
    entries: Iterable[tuple[list[Any], Any]],
    after: str | None,
    *,
    has_next: bool,
    total: int | None = None,
) -> Page:
    edges = [Edge(_encode_cursor(place), node) for place, node in entries]
    start, end = (edges[0].cursor, edges[-1].cursor) if edges else (None, None)
    return Page(edges, PageInfo(has_next, text_or_none(after) is not None, start, end), total)


def decode_item_cursor(cursor: str | None, order: rows.ItemOrder) -> rows.ItemKey | None:
    """Return the item key in a cursor; raise BadInput if the cursor is for another order."""
    if cursor is None:
        return None
    return rows.ItemKey(*_decode_ordered(cursor, order, tuple[rows.ItemOrder, float | None, str]))


def decode_learner_cursor(cursor: str | None, order: LearnerOrder) -> LearnerKey | None:
    """Return the learner key in a cursor; raise BadInput if the cursor is for another order."""
    if cursor is None:
        return None
    return LearnerKey(*_decode_ordered(cursor, order, tuple[LearnerOrder, tuple[float, ...], str]))


def decode_group_cursor(cursor: str | None) -> GroupKey | None:
    if cursor is None:
        return None
    key = GroupKey(*_decode_cursor(cursor, tuple[str | None, str]))
    if not (auth.is_id(key.group_id) and auth.is_text(key.name or "")):
        raise _invalid_cursor()
    return key


def _decode_ordered(cursor: str, order: str, type_: Any) -> tuple[Any, str]:
    made_for, rank, id_ = _decode_cursor(cursor, type_)
    if made_for is not order or not auth.is_id(id_):
        raise BadInput(f"after: expected a cursor of a list ordered by {order} - found {made_for}")
    return rank, id_


def decode_difficulty_cursor(cursor: str | None) -> rows.ItemKey | None:
    if cursor is None:
        return None
    key = rows.ItemKey(*_decode_cursor(cursor, tuple[float, str]))
    if not auth.is_id(key.item_id):
        raise _invalid_cursor()
    return key


def decode_milestone_cursor(cursor: str | None) -> rows.MilestoneKey | None:
    if cursor is None:
        return None
    type_: Any = tuple[date, rows.MilestoneKind, rows.CefrLevel | None, _Number | None]
    return rows.MilestoneKey(*_decode_cursor(cursor, type_))


def decode_session_cursor(cursor: str | None) -> rows.SessionKey | None:
    if cursor is None:
        return None
    key = rows.SessionKey(*_decode_cursor(cursor, tuple[_Moment, str]))
    _check_year(key.started_at)
    if not auth.is_id(key.id):
        raise _invalid_cursor()
    return key


def decode_letter_cursor(cursor: str | None) -> LetterKey | None:
    if cursor is None:
        return None
    key = LetterKey(*_decode_cursor(cursor, tuple[bool, _Moment, _Number]))
    _check_year(key.received_at)
    return key


def decode_access_cursor(cursor: str | None) -> Access | None:
    if cursor is None:
        return None
    (access,) = _decode_cursor(cursor, tuple[Access])
    _check_year(access.hour)
    if not (auth.is_text(access.read_by) and auth.is_text(access.role)):
        raise _invalid_cursor()
    return access


def _check_year(moment: datetime) -> None:
    """In the years 1 and 9999, the conversion to UTC may leave the range of datetime."""
    if not date.min.year < moment.year < date.max.year:
        raise _invalid_cursor()


def decode_number_cursor(cursor: str | None) -> int | None:
    """Return an event's stream version or an operation's number."""
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
