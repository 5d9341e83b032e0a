"""Pages of a list as GraphQL connections. An opaque cursor marks the position of each entry."""

import base64
import binascii
import functools
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum
from types import GenericAlias
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from strawberry import UNSET

from progress import auth
from progress.errors import BadInput
from progress.query.graphql.arguments import Argument
from progress.query.read_models import rows
from progress.query.read_models.accesses import Access

_T = TypeVar("_T")
_Key = TypeVar("_Key", bound=msgspec.Struct)
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


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


def build_page(page: rows.Page[tuple[Any, Any]], after: str | None, *order: str) -> Page:
    """Build a connection of (key, record) pairs; a cursor has the list's order and the key."""
    keyed = (([*order, *msgspec.structs.astuple(key)], node) for key, node in page.items)
    return _connect(keyed, after, has_next=page.has_next, total=page.total_count)


def build_keyed_page(
    nodes: Sequence[_T], after: str | None, size: int, key: Callable[[_T], object]
) -> Page:
    """Build a connection of at most `size` nodes; `nodes` has one more if another page follows."""
    keyed = (([key(node)], node) for node in nodes[:size])
    return _connect(keyed, after, has_next=len(nodes) > size)


def build_record_page(
    nodes: Sequence[_T], after: str | None, size: int, key: type[msgspec.Struct]
) -> Page:
    """Build the same of nodes that have the fields of their key."""
    keys = (msgspec.convert(node, key, from_attributes=True) for node in nodes[:size])
    keyed = zip(map(list, map(msgspec.structs.astuple, keys)), nodes, strict=False)
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
    return Page(edges, PageInfo(has_next, isinstance(after, str), start, end), total)


def decode_key(after: Any, key: type[_Key]) -> _Key | None:
    """Return the key in the cursor `after`; None if the argument is null or left out."""
    if not isinstance(after, str):
        return None
    return _check(key(*_decode_cursor(after, _types_of(key))))


def cursor(key: type[msgspec.Struct]) -> Argument:
    """Return the argument `after` of a list with such keys."""
    return Argument(str | None, UNSET, functools.partial(decode_key, key=key))


def decode_ordered_key(after: Any, key: type[_Key], order: StrEnum) -> _Key | None:
    """Return the same of a cursor that names its order; raise BadInput if this is another one."""
    if not isinstance(after, str):
        return None
    made_for, *values = _decode_cursor(after, (type(order), *_types_of(key)))
    if made_for is not order:
        raise BadInput(f"after: expected a cursor of a list ordered by {order} - found {made_for}")
    return _check(key(*values))


def decode_access(after: Any) -> Access | None:
    return _check(*_decode_cursor(after, (Access,))) if isinstance(after, str) else None


def decode_number(after: Any) -> int | None:
    """Return an event's stream version or an operation's number."""
    return _decode_cursor(after, (_Number,))[0] if isinstance(after, str) else None


@functools.cache
def _types_of(key: type[msgspec.Struct]) -> tuple[Any, ...]:
    return tuple(get_type_hints(key).values())


def _check(key: _Key) -> _Key:
    """Return the key; raise BadInput if PostgreSQL cannot have one of its values.

    In the years 1 and 9999, the conversion to UTC may leave the range of datetime, and asyncpg
    sends the first and the last date as infinite ones.
    """
    for value in msgspec.structs.astuple(key):
        match value:
            case str():
                is_valid = auth.is_text(value)
            case datetime(tzinfo=None):
                is_valid = False
            case date():  # or datetime
                is_valid = date.min.year < value.year < date.max.year
            case int():
                is_valid = 0 <= value < 2**63
            case _:
                is_valid = True
        if not is_valid:
            raise _invalid_cursor()
    return key


def _encode_cursor(place: list[object]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode_cursor(cursor: str, types: tuple[Any, ...]) -> Any:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=GenericAlias(tuple, types))
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise _invalid_cursor() from None


def _invalid_cursor() -> BadInput:
    return BadInput("after: expected an endCursor of this list, exactly as it was returned")
