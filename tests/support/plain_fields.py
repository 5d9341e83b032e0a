"""The query fields about one learner that need no argument: tests ask each of them alike."""

from datetime import datetime
from typing import Any

from graphql import get_named_type, is_object_type

from progress.query.graphql.schema import FIELDS
from progress.query.read_models.queries import Queries
from tests.support.api import QUERY

_OF_EACH = {"userId", "asOf", "knownAt"}

NAMES = tuple(
    name
    for name, field in QUERY.fields.items()
    if FIELDS[name].sql and field.args.keys() <= _OF_EACH
)


def select_all(name: str) -> str:
    """Return all fields of the field's type, in braces; an empty text for a scalar."""
    return _select(QUERY.fields[name].type)


def _select(type_: Any) -> str:
    if not is_object_type(named := get_named_type(type_)):
        return ""
    fields = (name + _select(field.type) for name, field in named.fields.items())
    return f" {{ {' '.join(fields)} }}"


async def fetch(queries: Queries, name: str, user: str, at: datetime) -> list[Any]:
    """Return the field's records about the learner."""
    query = FIELDS[name].sql
    assert query
    return await queries.run(user, query.call(at, {}))
