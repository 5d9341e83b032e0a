"""The query fields about one learner that need no argument: tests ask each of them alike."""

from datetime import datetime
from typing import Any

from progress.query.graphql.schema import FIELDS
from progress.query.read_models.queries import Queries
from tests.support.api import QUERY

_OF_EACH = {"userId", "asOf", "knownAt"}

NAMES = tuple(
    name
    for name, field in QUERY.fields.items()
    if FIELDS[name].sql and field.args.keys() <= _OF_EACH
)


async def fetch(queries: Queries, name: str, user: str, at: datetime) -> list[Any]:
    query = FIELDS[name].sql
    assert query
    return await queries.run(user, query.call(at, {}))
