"""Compiled fields: the requested columns of a query's rows, and their JSON.

A field with SQL is one SELECT of the requested columns from the SQL block of a read model. Neither
resolvers run nor records are created. Column names are the schema's field names in snake case, so
that text of a request never becomes SQL.

If a column and its GraphQL field differ in type, or if the GraphQL field does not allow a value (a
null, an infinite number, an unknown enum member), InvalidRows is raised. The field's resolver then
runs, so that all errors come from graphql-core. `tests/query/test_compiled.py` compares the
responses of generated queries with those of plain graphql-core, byte for byte. The generated
queries select every column of every compiled field.

The gain was measured on one core with 30 rows of 7 fields (docs/decisions.md): a request takes
0.5 ms, and 1.1 ms with resolvers.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
import orjson
from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    get_named_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.type import get_nullable_type

from progress.adapters.postgres.statements import fill
from progress.query.execution.selection import Field


class _NotCompilable(Exception):
    """The selection is not a list of columns; the field's resolver always runs."""


class InvalidRows(Exception):
    """The rows violate the GraphQL schema; the field's resolver runs and reports the errors."""


_FORMAT = orjson.OPT_UTC_Z
_encode = msgspec.json.Encoder().encode

Rows = Sequence[asyncpg.Record]

# The PostgreSQL types whose values have the same JSON as the GraphQL type.
_PG_TYPES = {
    "Int": ("int2", "int4", "int8"),
    "Float": ("float8",),
    "Boolean": ("bool",),
    "Date": ("date",),
    "DateTime": ("timestamptz",),
    "ID": ("text", "varchar"),
    "String": ("text", "varchar"),
}


class Column(NamedTuple):
    """A column of the response, and the values that its GraphQL type allows."""

    name: str  # empty for __typename
    expression: str
    pg_types: tuple[str, ...]
    is_non_null: bool = True
    is_float: bool = False
    is_list: bool = False
    members: frozenset[str] | None = None  # of an enum


class Columns:
    """The columns that a field's selections need, and the JSON that their values make."""

    def __init__(self, field: Field) -> None:
        """Raise _NotCompilable if the selections are not a list of columns."""
        self._field = field
        self._columns = tuple(_columns(field))
        if not self._columns:
            raise _NotCompilable
        self._entry = _Entry(field) if field.is_list and field.selections else None
        self.text = ", ".join(column.expression for column in self._columns)
        self._checked_types: Mapping[str, str] | None = None
        self._has_enums = any(column.members for column in self._columns)

    def check_types(self, types: Mapping[str, str]) -> None:
        """Raise InvalidRows if a column's PostgreSQL type and GraphQL type have different JSON."""
        if types is self._checked_types:
            return
        named = (column for column in self._columns if column.name)
        if not all(types.get(column.name) in column.pg_types for column in named):
            raise InvalidRows
        self._checked_types = types

    def to_json(self, rows: Rows) -> bytes:
        """Return the field's JSON; raise InvalidRows if graphql-core would report an error."""
        if self._entry is not None:
            data = _encode(list(self._entry.build(zip(*rows, strict=True)))) if rows else b"[]"
        elif self._field.is_list:  # of scalars
            data = orjson.dumps([row[0] for row in rows], option=_FORMAT)
        else:
            data = orjson.dumps(self._to_object(rows), option=_FORMAT)
        if self._has_enums or b"null" in data:
            self._check_rows(rows)
        return data

    def _to_object(self, rows: Rows) -> object:
        if rows:
            return _object(self._field.selections, iter(rows[0]))
        if is_non_null_type(self._field.definition.type):
            raise InvalidRows
        return None

    def _check_rows(self, rows: Rows) -> None:
        for n, column in enumerate(self._columns):
            for row in rows:
                _check_value(column, row[n])


def _check_value(column: Column, value: Any) -> None:
    if value is None:
        if column.is_non_null:
            raise InvalidRows
    elif column.is_float:
        if not math.isfinite(value):
            raise InvalidRows
    elif column.members and not column.members.issuperset(value if column.is_list else (value,)):
        raise InvalidRows


class _Entry:
    """A struct type for a list's entries. Dicts instead of structs would take twice the time.

    The attributes are numbered, because a response key may be a Python keyword.
    """

    def __init__(self, field: Field) -> None:
        names = {f"_{number}": selected.key for number, selected in enumerate(field.selections)}
        self._type = msgspec.defstruct(field.type_name, list(names), rename=names, gc=False)
        self._nested = [_Entry(inner) if inner.selections else None for inner in field.selections]

    def build(self, columns: Iterator[Sequence[Any]]) -> Iterable[object]:
        """Return one struct for each row; take the values from the next columns of the iterator."""
        values = [nested.build(columns) if nested else next(columns) for nested in self._nested]
        return map(self._type, *values)


def _object(fields: Sequence[Field], values: Iterator[Any]) -> dict[str, Any]:
    return {
        field.key: _object(field.selections, values) if field.selections else next(values)
        for field in fields
    }


def _columns(field: Field, prefix: str = "") -> Iterator[Column]:
    """Yield the columns of a field's selections, in the order of the response.

    If several fields of an object have the same object type, as `young` and `mature` do, the names
    of each field's columns begin with the field's name, for example `young_rate`. A list of scalars
    is one column, which has the field's name.
    """
    type_ = get_named_type(field.definition.type)
    list_type = get_nullable_type(field.definition.type)
    if is_list_type(list_type) and isinstance(type_, GraphQLScalarType):
        yield _column(list_type.of_type, field.column)
        return
    if not isinstance(type_, GraphQLObjectType) or not field.selections:
        raise _NotCompilable
    for selected in field.selections:
        if selected.name == "__typename":
            yield Column("", f"CAST('{field.type_name}' AS text)", ())
        elif is_object_type(get_named_type(selected.definition.type)):
            names = [get_named_type(each.type).name for each in type_.fields.values()]
            is_alone = names.count(selected.type_name) == 1
            columns = [*_columns(selected, "" if is_alone else f"{selected.column}_")]
            # Only a null in a column that allows none says that the object itself is null.
            says_null = any(column.name and column.is_non_null for column in columns)
            if not (says_null or is_non_null_type(selected.definition.type)):
                raise _NotCompilable
            yield from columns
        else:
            yield _column(selected.definition.type, prefix + selected.column)


def _column(type_: GraphQLOutputType, name: str) -> Column:
    scalar = get_named_type(type_)
    is_list = is_list_type(get_nullable_type(type_))
    is_enum = isinstance(scalar, GraphQLEnumType)
    pg_types = _PG_TYPES["String" if is_enum else scalar.name]
    return Column(
        name,
        fill("query/compiled", "clamped", column=name) if scalar.name == "Int" else f'"{name}"',
        tuple(f"{pg_type}[]" for pg_type in pg_types) if is_list else pg_types,
        is_non_null=is_non_null_type(type_),
        is_float=scalar.name == "Float",
        is_list=is_list,
        members=frozenset(scalar.values) if isinstance(scalar, GraphQLEnumType) else None,
    )


def find_columns(field: Field) -> Columns | None:
    try:
        return Columns(field)
    except _NotCompilable:
        return None
