"""Data of other learners: every field is forbidden, whether or not the learner exists."""

from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec
import pytest
from graphql import GraphQLField, is_leaf_type, is_required_argument
from graphql.type import get_named_type
from starlette.responses import Response

from progress.query.graphql.schema import SCHEMA
from tests.conftest import Store
from tests.support import api, rows_by_hand
from tests.support.api import Api

_SCHEMA = SCHEMA._schema
GIVEN = {"Date": '"2024-03-01"', "DateTime": '"2024-03-01T00:00:00Z"', "ID": '"1"', "String": '"x"'}


def query_about(name: str, field: GraphQLField, user: str) -> str:
    """Return a GraphQL query that asks for the field `name` of the learner `user`."""
    values = {
        arg: "[]" if "[" in str(argument.type) else GIVEN[get_named_type(argument.type).name]
        for arg, argument in field.args.items()
        if is_required_argument(argument)
    }
    values["userId"] = f'"{user}"'
    selected = "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"
    arguments = ", ".join(f"{arg}: {value}" for arg, value in values.items())
    return f"{{ {name}({arguments}) {selected} }}"


def fields() -> Iterator[tuple[str, str]]:
    """Yield the operation type and name of each query and mutation about a learner."""
    for operation, root in (("query", _SCHEMA.query_type), ("mutation", _SCHEMA.mutation_type)):
        for name, field in root.fields.items() if root else ():
            if "userId" in field.args:
                yield operation, name


@pytest.fixture
def query_api(store: Store) -> Iterator[Api]:
    connection = rows_by_hand.connect(store.url)
    rows_by_hand.insert(connection, "user_progress", {"user_id": "bob", "items_learned": 7})
    connection.close()
    with api.serve(store.url) as made:
        yield made


def visible_parts(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return everything that a client sees of a response."""
    return response.status_code, response.raw_headers, bytes(response.body)


@pytest.mark.parametrize(("operation", "name"), [*fields()])
def test_a_forbidden_field_does_not_reveal_whether_a_learner_exists(
    query_api: Api, operation: str, name: str
) -> None:
    root = _SCHEMA.query_type if operation == "query" else _SCHEMA.mutation_type
    assert root
    answers = []
    for user in ("bob", "nob"):
        text = f"{operation} {query_about(name, root.fields[name], user)}"
        body = msgspec.json.encode({"query": text})
        # This request puts Bob's results into the cache.
        query_api.request("POST", "/graphql", body, api.headers("bob"))
        posted = query_api.request("POST", "/graphql", body, api.headers("ann"))
        (error,) = api.read(posted)["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert api.read(posted)["data"] is None
        got = query_api.request(
            "GET", "/graphql?" + urlencode({"query": text}), b"", api.headers("ann")
        )
        answers.append((visible_parts(posted), visible_parts(got)))
    assert answers[0] == answers[1]


def test_the_schema_has_fields_about_a_learner() -> None:
    assert len([*fields()]) >= 11
