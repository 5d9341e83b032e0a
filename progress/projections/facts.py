"""The typed columns of the events, from the declarations of the event types.

They are parts of `sql/read_models/facts.sql` and `sql/projections/definitions.sql`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from progress.adapters.postgres.statements import blocks, fill
from progress.event_store import events
from progress.event_store.events import Event

_IDS = ("user_id", "session_id", "item_id")  # columns of every event
_LISTS = ("list", "assignment")  # The view `list_facts` has the fields of these kinds.
_APART = ("preference", "catalogue", *_LISTS)  # ... of these, they are not columns of the window.
_LONGEST = 2**31 - 1


class Column(NamedTuple):
    """A column that the field of one or more event types fills."""

    name: str
    field: str
    sql_type: str
    limit: int | None
    declared: list[type[Event]]

    @property
    def is_text(self) -> bool:
        return self.sql_type == "text"


def parts(cast: str = "CAST", moment: str = "timestamptz") -> dict[str, str]:
    """Return the parts of the SQL.

    `cast` converts the text of a value; `moment` is the type of times.
    """
    terms = {"cast": cast, "moment": moment}
    types = events.EVENT_TYPES.values()
    kinds = _list_kinds(types)
    columns = _list_columns(one for one in types if one.fact not in _LISTS)
    window = _list_columns(one for one in types if one.fact not in _APART)
    dated = [c for c in columns if any(one.has_day for one in c.declared)]
    found = {
        "kind_of_fact": _block("kind_of_fact", kinds="\n    ".join(map(_describe_kind, types))),
        "window_columns": ", ".join(c.name for c in window),
        "window_types": ", ".join(f"{c.name} {_collated(c.sql_type)}" for c in window),
        "window_values": _list_values(window, terms),
        "counted_columns": ", ".join(map(_name, window)),
        "fact_columns": ", ".join(_halve(c, f"e.{c.name}") for c in columns),
        "grade": _block("grade"),
        "due": _block("due", **terms),
        "plain_texts": ", ".join(_block("plain text", column=c.name) for c in window if c.is_text),
        "fact_values": _list_values(columns, terms),
        "past_types": _quote(one for one in types if one.fact not in _LISTS),
        "accepts_retraction": _accepts(events.EventRetracted),
        "list_columns": _block("list columns", **terms),
        "dated_kinds": ", ".join(
            f"'{kind}'" for kind in _list_kinds(one for one in types if one.has_day)
        ),
        "dated_columns": ", ".join(map(_name, dated)),
        "retracted_kinds": ", ".join(
            f"'{kind}'" for kind in _list_kinds(one for one in types if one.can_be_retracted)
        ),
        "retractable_types": _quote(one for one in types if one.can_be_retracted),
    }
    for kind in kinds:
        found[f"{kind}_types"] = _quote(one for one in types if one.fact == kind)
    for kind in _APART:
        texts = [c for c in columns if c.declared[0].fact == kind and c.is_text]
        found[f"{kind}_values"] = _list_values(texts, terms)
    return found


def _list_kinds(types: Iterable[type[Event]]) -> list[str]:
    facts = ((one.fact, one.own_fact) for one in types)
    return [*dict.fromkeys(kind for pair in facts for kind in pair if kind)]


def _list_columns(types: Iterable[type[Event]]) -> list[Column]:
    columns: dict[str, Column] = {}
    for declared in types:
        for field in msgspec.structs.fields(declared):
            name = declared.columns.get(field.name, field.name)
            if name is None or name in _IDS:
                continue
            limit = declared.limits.get(field.name)
            column = Column(name, field.name, _sql_type(field.type), limit, [])
            columns.setdefault(name, column).declared.append(declared)
            if columns[name][:4] != column[:4]:
                raise TypeError(f"{declared.__name__}: the column {name} differs from another type")
    return [*columns.values()]


def _count(column: Column) -> str:
    """Return the column of the event e as it counts in sums and means."""
    name = column.name
    return _block("counted", column=name, limit=str(column.limit)) if column.limit else f"e.{name}"


def _name(column: Column) -> str:
    return f"{_count(column)} AS {column.name}"


def _halve(column: Column, value: str) -> str:
    """Return the value in a half of a CardReviewed: null in the other half than the column's."""
    kinds = {one.fact for one in column.declared}
    other = "review" if "answer" in kinds else "answer" if "review" in kinds else ""
    return _block("halved", other=other, value=value, column=column.name) if other else value


def _list_values(columns: Iterable[Column], terms: dict[str, str]) -> str:
    return ",\n    ".join(_describe_value(column, terms) for column in columns)


def _describe_value(column: Column, terms: dict[str, str]) -> str:
    """Return the SELECT item; it is null for events whose types do not declare the field."""
    block = {"text": "text value", "json": "json value"}.get(column.sql_type, "cast value")
    if _can_remove(column.declared[0], column.field):
        block = "text value or removal"
    value = _block(block, field=column.field, type=column.sql_type, **terms)
    checked = [one for one in column.declared if column.is_text or not one.rechecked]
    conditions = [_block("is_of", types=_quote(checked))] if checked else []
    conditions += [
        _block("is_kind", kind=one.fact) for one in column.declared if one not in checked
    ]
    condition = " OR ".join(conditions)
    late = [one for one in column.declared if column.field in one.late_fields]
    if late:
        condition = f"({condition}) AND {_accepts_field(late[0], column.field)}"
    of_card = f"card {column.name}"
    if of_card in blocks("read_models/facts"):
        value += _block("value of card", value=_block(of_card, **terms))
    return _block("value", is_declared=condition, value=value, column=column.name)


def _describe_kind(declared: type[Event]) -> str:
    names = {"event_type": declared.__name__, "kind": declared.fact}
    if declared.own_fact:
        return _block("kind of list", own=declared.own_fact, rule=_accepts(declared), **names)
    if declared.fact == "assignment":
        return _block("kind if", rule=_block("is_of_group"), **names)
    if declared.rechecked:
        return _block("kind if", rule=_accepts(declared), **names)
    return _block("kind", **names)


def _accepts(declared: type[Event]) -> str:
    """Return the condition that the declaration accepts an event, whatever its late fields have."""
    is_named = issubclass(declared, events.LearnerEvent | events.ListEvent)
    rules = [_block("names_learner")] if is_named else []
    if declared is events.CardReviewed:
        rules.append(_block("accepts card"))
    for field in msgspec.structs.fields(declared):
        if field.name != "user_id" and field.name not in declared.late_fields:
            rule = _accepts_field(declared, field.name)
            is_optional = field.default is not msgspec.NODEFAULT
            rules.append(
                _block("is_optional", field=field.name, rule=rule) if is_optional else rule
            )
    return f"({' AND '.join(rules)})"


def _accepts_field(declared: type[Event], name: str) -> str:
    if _can_remove(declared, name):
        return _block("is_removable", field=name, rule=_has_type(declared, name))
    return _has_type(declared, name)


def _can_remove(declared: type[Event], name: str) -> bool:
    """Return whether null is a value of the field, which removes the former value."""
    return _field(declared, name).default is msgspec.UNSET


def _field(declared: type[Event], name: str) -> msgspec.structs.FieldInfo:
    return next(one for one in msgspec.structs.fields(declared) if one.name == name)


def _has_type(declared: type[Event], name: str) -> str:
    match _type_of(_field(declared, name).type):
        case inspect.IntType(ge=int(low), le=int(high)) if high - low < 10:
            return _is_one_of(name, map(str, range(low, high + 1)))
        case inspect.IntType(ge=low, le=high) if low is not None and high is not None:
            return _is_number(name, "bigint", r"^-?[0-9]{1,18}$", low, high)
        case inspect.FloatType(ge=low, le=high) if low is not None and high is not None:
            return _is_number(name, "double precision", r"^-?[0-9].*$", low, high)
        case inspect.BoolType():
            return _is_one_of(name, ("true", "false"))
        case inspect.LiteralType(values=values):
            return _is_one_of(name, (f'"{value}"' for value in values))
        case inspect.StrType(min_length=low, max_length=high, pattern=pattern):
            bounds = {"low": str(low or 0), "high": str(high or _LONGEST)}
            rules = [_block("is_string", field=name, **bounds)]
            if pattern is not None:
                rules.append(_block("matches", field=name, pattern=pattern))
            rule = " AND ".join(rules)
            is_moment = inspect.StrType(pattern=pattern) == inspect.type_info(events.Moment)
            return _block("is_moment", field=name, rule=rule) if is_moment else rule
        case other:
            raise TypeError(
                f"{declared.__name__}.{name}: SQL cannot check {other}; see `rechecked`"
            )


def _is_number(field: str, type_: str, pattern: str, low: float, high: float) -> str:
    bounds = {"low": str(low), "high": str(high)}
    return _block("is_number", field=field, type=type_, pattern=pattern, **bounds)


def _is_one_of(field: str, texts: Iterable[str]) -> str:
    return _block("is_one_of", field=field, texts=", ".join(f"'{text}'" for text in texts))


_SQL_TYPES = {
    inspect.IntType: "bigint",
    inspect.FloatType: "double precision",
    inspect.BoolType: "boolean",
    inspect.ListType: "json",
}


def _sql_type(declared: Any) -> str:
    if declared == events.Day:
        return "date"
    return _SQL_TYPES.get(type(_type_of(declared)), "text")


def _type_of(declared: Any) -> inspect.Type:
    """Return the type of a field without None."""
    type_ = inspect.type_info(declared)
    if isinstance(type_, inspect.UnionType):
        return next(one for one in type_.types if not isinstance(one, inspect.NoneType))
    return type_


def _collated(sql_type: str) -> str:
    return 'text COLLATE "C"' if sql_type == "text" else sql_type


def _quote(types: Iterable[type[Event]]) -> str:
    return ", ".join(f"'{declared.__name__}'" for declared in types)


def _block(name: str, **values: str) -> str:
    return fill("read_models/facts", name, **values)
