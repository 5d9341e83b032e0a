"""Fields of the query that one SELECT answers: no resolver runs, no row becomes an object.

It is a read model's own question, of which only the asked columns are taken. Their names are
those of GraphQL's type in snake case: no name of the request is ever part of a statement.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
import orjson
from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
    is_list_type,
    is_non_null_type,
)
from graphql.type import get_nullable_type

from progress.query.cache.cache import ComputedAnswer
from progress.query.execution.selections import GRAPHQL, QUERY, Field, Unusual
from progress.query.graphql import arguments
from progress.query.read_models import reader

# GraphQL's Int ends there. Not least(): it passes nulls over.
_CLAMPED = 'CASE WHEN "{0}" > 2147483647 THEN 2147483647 ELSE "{0}" END'
_FORMAT = orjson.OPT_UTC_Z
_encode = msgspec.json.Encoder().encode

Values = Mapping[str, Any]
Rows = Sequence[asyncpg.Record]

# Which of PostgreSQL's types are written as GraphQL's are.
_FITTING = {
    "Int": ("int2", "int4", "int8"),
    "Float": ("float8",),
    "Boolean": ("bool",),
    "Date": ("date",),
    "DateTime": ("timestamptz",),
    "ID": ("text", "varchar"),
    "String": ("text", "varchar"),
}
_LIST = ("text[]", "varchar[]")


class Column(NamedTuple):
    """A column of the answer, and what its values may be."""

    name: str  # empty for __typename
    expression: str
    fitting: tuple[str, ...]  # PostgreSQL's types
    is_needed: bool = True
    is_float: bool = False
    is_list: bool = False
    members: frozenset[str] | None = None  # of its enum


class Source(NamedTuple):
    """Where a field's rows come from: the block for some arguments, and what it is told."""

    file: str
    block: Callable[[Values], str]
    values: Callable[[Values, datetime], dict[str, object]]


def _range(given: Values, _: datetime) -> dict[str, object]:
    arguments.check_range(given["from"], given["to"])
    return {"first_day": given["from"], "last_day": given["to"]}


def _filled_range(given: Values, at: datetime) -> dict[str, object]:
    return {**_range(given, at), "zero_fill": bool(given.get("zeroFill"))}


def _present(_: Values, at: datetime) -> dict[str, object]:
    return {"now": at}


def _nothing(_: Values, __: datetime) -> dict[str, object]:
    return {}


def _item(given: Values, _: datetime) -> dict[str, object]:
    return {"item_id": arguments.identity("itemId", given["itemId"])}


def _ahead(given: Values, at: datetime) -> dict[str, object]:
    return {"now": at, "days": arguments.forecast_days(given.get("days"))}


def _days(given: Values) -> str:
    return "range" if given.get("zeroFill") else "days"


def _always(block: str) -> Callable[[Values], str]:
    return lambda _: block


_SOURCES = {
    "userProgress": Source("user_progress", _always("current"), _present),
    "dailyStats": Source("daily_stats", _days, _filled_range),
    "weeklyStats": Source("weekly_stats", _always("range"), _filled_range),
    "monthlyStats": Source("daily_stats", _always("months"), _range),
    "item": Source("item_stats", _always("item"), _item),
    "domainStats": Source("domain_stats", _always("by domain"), _nothing),
    "levelStats": Source("level_stats", _always("by level"), _nothing),
    "streak": Source("learning_streaks", _always("streak"), _present),
    "dueForecast": Source("item_stats", _always("forecast"), _ahead),
}


class Compiled:
    """A field of the query that one SELECT answers."""

    def __init__(self, field: Field, source: Source) -> None:
        """Unusual where it cannot be."""
        self._field, self._source = field, source
        self._columns = tuple(_columns(field))
        self._is_flat = all(not each.inside for each in field.inside)
        if not self._columns or (field.is_many and not self._is_flat):
            raise Unusual
        self._entry = _entry(field) if field.is_many else None
        self._asked = ", ".join(each.expression for each in self._columns)
        self._fitting: Mapping[str, str] | None = None  # the types that were found to fit
        self._has_enums = any(each.members for each in self._columns)

    def takes(self, given: Values) -> bool:
        """Whether it answers with those arguments: about the past the executor does."""
        return given.get("asOf") is None and given.get("knownAt") is None

    async def answered(
        self, user_id: str, given: Values, at: datetime, *, returns_version: bool = False
    ) -> ComputedAnswer:
        """Return the answer, with `returns_version` also the learner's version from the statement.

        Unusual where the executor would find something wrong with it.
        """
        file, block = f"read_models/{self._source.file}", self._source.block(given)
        values = {"user_id": user_id, **self._source.values(given, at)}
        types = await reader.types(file, block)
        if types is not self._fitting:
            self._check_types(types)
        rows = await reader.narrowed(file, block, self._asked, values, versioned=returns_version)
        version = rows[0][-1] if returns_version and rows else None
        if returns_version and not rows:
            version = (await reader.rows("query/answers", "version", user_id=user_id))[0]["version"]
            rows = await reader.narrowed(
                file, block, self._asked, values, versioned=returns_version
            )
        data = self._written(rows)
        if self._has_enums or b"null" in data:
            self._check(rows)
        return ComputedAnswer(data, version)

    def _check_types(self, types: Mapping[str, str]) -> None:
        """Unusual where a column is of a type that is not written as GraphQL's is."""
        if not all(types.get(each.name) in each.fitting for each in self._columns if each.name):
            raise Unusual
        self._fitting = types

    def _written(self, rows: Rows) -> bytes:
        if self._entry is not None:
            if not rows:
                return b"[]"
            # By columns, of which there may be one more: the version.
            columns = zip(*rows, strict=True)
            return _encode(list(map(self._entry, *itertools.islice(columns, len(self._columns)))))
        return orjson.dumps(self._built(rows), option=_FORMAT)

    def _built(self, rows: Rows) -> object:
        if rows:
            return _object(self._field.inside, iter(rows[0]))
        if is_non_null_type(QUERY.fields[self._field.name].type):
            raise Unusual
        return None

    def _check(self, rows: Rows) -> None:
        for n, column in enumerate(self._columns):
            for row in rows:
                _check(column, row[n])


def _check(column: Column, value: Any) -> None:
    if value is None:
        if column.is_needed:
            raise Unusual
    elif column.is_float:
        if not math.isfinite(value):
            raise Unusual
    elif column.members and not column.members.issuperset(value if column.is_list else (value,)):
        raise Unusual


def _entry(field: Field) -> Callable[..., object]:
    """The constructor of a list's entries: a struct is made and written in half of a dict's time.

    Its fields have numbers: a response key may be a word of Python's.
    """
    names = {f"_{number}": each.key for number, each in enumerate(field.inside)}
    return msgspec.defstruct(field.shape, list(names), rename=names, gc=False)


def _object(fields: Sequence[Field], values: Iterator[Any]) -> dict[str, Any]:
    return {
        each.key: _object(each.inside, values) if each.inside else next(values) for each in fields
    }


def _columns(field: Field) -> Iterator[Column]:
    """The columns of all that is inside, in the order of the answer."""
    shape = GRAPHQL.type_map[field.shape]
    if not isinstance(shape, GraphQLObjectType) or not field.inside:
        raise Unusual
    for each in field.inside:
        if each.name == "__typename":
            yield Column("", f"CAST('{field.shape}' AS text)", ())
        elif isinstance(GRAPHQL.type_map[each.shape], GraphQLObjectType):
            yield from _columns(each)
        else:
            yield _column(shape.fields[each.name].type, each.column)


def _column(shape: GraphQLOutputType, name: str) -> Column:
    scalar = get_named_type(shape)
    is_list = is_list_type(get_nullable_type(shape))
    is_enum = isinstance(scalar, GraphQLEnumType)
    fitting = _LIST if is_list else _FITTING["String" if is_enum else scalar.name]
    return Column(
        name,
        _CLAMPED.format(name) if scalar.name == "Int" else f'"{name}"',
        fitting,
        is_needed=is_non_null_type(shape),
        is_float=scalar.name == "Float",
        is_list=is_list,
        members=frozenset(scalar.values) if isinstance(scalar, GraphQLEnumType) else None,
    )


def compiled(field: Field) -> Compiled | None:
    """The field compiled, or None where it is for the executor."""
    try:
        return Compiled(field, _SOURCES[field.name])
    except (KeyError, Unusual):
        return None
