"""Fields with SQL as parts of `learner`, a field of a test schema that names learner and moment.

A part has the response, the cache key, the cost and the rights of the root field with its name.
"""

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema

from progress.query.auth import Caller, Role
from progress.query.cache.rate_limit import RateLimiter
from progress.query.cache.responses import ResponseCache
from progress.query.execution import documents, execute, fields
from progress.query.execution.documents import LruCache
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse
from progress.query.execution.executor import Call, FieldExecutor
from progress.query.graphql.context import Context
from progress.query.graphql.schema import FIELDS, GRAPHQL, Declaration
from progress.query.graphql.whose import Whose
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from tests.query.test_compiled import LOG, NOW, PLAINLY, log
from tests.support.api import NOWHERE, QUERY
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.stage import Worker, append, connect

MOMENT = ("userId", "asOf", "knownAt")
MARCH = 'dailyStats(from: "2024-03-01", to: "2024-03-31")'


def schema_with_parts() -> GraphQLSchema:
    """Return the schema with a root field `learner`, whose parts are the fields with SQL."""
    parts = {
        name: GraphQLField(
            QUERY.fields[name].type,
            {key: each for key, each in QUERY.fields[name].args.items() if key not in MOMENT},
            functools.partial(resolve_part, QUERY.fields[name]),
        )
        for name, declaration in FIELDS.items()
        if declaration.sql
    }
    moment = {key: QUERY.fields["streak"].args[key] for key in MOMENT}
    learner = GraphQLField(
        GraphQLObjectType("Parts", parts), moment, lambda _, _info, **arguments: arguments
    )
    query = GraphQLObjectType("Query", {**QUERY.fields, "learner": learner})
    return GraphQLSchema(query, GRAPHQL.mutation_type, GRAPHQL.subscription_type)


def resolve_part(field: GraphQLField, parent: dict[str, Any], info: Any, **arguments: Any) -> Any:
    """Return what the root field would return, with the arguments of the parent."""
    assert field.resolve is not None
    return field.resolve(None, info, **parent, **arguments)


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "GRAPHQL", schema_with_parts())
    monkeypatch.setattr(documents, "_valid", LruCache(1 << 20))
    monkeypatch.setattr(documents, "_rejected", LruCache(1 << 20))
    monkeypatch.setitem(FIELDS, "learner", Declaration(Whose.LEARNER, has_parts=True))


@pytest.fixture(scope="module")
def database(servers: Callable[[str], Server]) -> Iterator[str]:
    with servers(EMBEDDED).open_database() as url:
        worker = Worker(url)
        with closing(worker.connection) as connection:
            append(connection, list(log()))
            worker.run(0, PLAINLY)
        yield url


class Resolving(FieldExecutor):
    """An executor that lists the fields whose resolvers ran in place of a SELECT."""

    resolved: list[str]

    async def resolve(self, call: Call) -> Any:
        self.resolved.append(str(call.path.key))
        return await super().resolve(call)


def run(url: str, query: str, role: Role = "learner", user: str = "ann") -> GraphQLResponse:
    async def answer() -> GraphQLResponse:
        reader = Reader(url)
        cache = ResponseCache(None, RateLimiter(None, 10**9), reader)
        caller = Caller(user, role, float("inf"))
        context = Context(caller, Queries(reader), NOW, AccessTrace(reader))
        try:
            return await execute.run(
                GraphQLRequest(query), context, cache=cache, introspection=False, log=LOG
            )
        finally:
            await reader.close()

    return asyncio.run(answer())


def requested(query: str) -> list[fields.RequestedField]:
    """Return the fields of a query that the cache or a SELECT may answer."""
    prepared = documents.read(query, introspection=False).prepare(None, None)
    return fields.request(prepared.coerced, Caller("ann", "support"))


def test_a_part_leaves_the_trace_of_the_learner_that_its_parent_names(database: str) -> None:
    run(database, '{ learner(userId: "ann") { streak { current } } }', "support", "sue")
    run(database, "{ learner { streak { current } } }", "support", "ann")
    run(database, '{ learner(userId: "nobody") { streak { current } } }', "support", "tim")
    run(database, '{ learner(userId: "ann") { streak { current } } }', "learner", "tim")
    with closing(connect(database)) as connection:
        rows = connection.run("SELECT read_by, role, user_id FROM event_store.accesses")
    assert rows == [["sue", "support", "ann"]]


def test_a_part_is_one_select_and_has_the_response_of_the_root_field(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Resolving, "resolved", [], raising=False)
    monkeypatch.setattr(documents, "FieldExecutor", Resolving)
    selected = f"streak {{ current longest }} it: {MARCH} {{ date answers }} __typename"
    whole = run(database, f"{{ learner {{ {selected} }} {selected} }}")
    assert not whole.errors
    data = json.loads(whole.data or b"")
    learner = data.pop("learner")
    assert learner.pop("__typename") == "Parts"
    assert data.pop("__typename") == "Query"
    assert learner == data
    assert learner["it"]
    assert not Resolving.resolved


def test_a_part_has_the_moment_of_its_parent(database: str) -> None:
    moment = 'userId: "bob", asOf: "2024-02-20T00:00:00Z"'
    whole = run(
        database,
        f"{{ learner({moment}) {{ goal {{ daysMet30 }} streak {{ longest }} }} "
        f"goal({moment}) {{ daysMet30 }} streak({moment}) {{ longest }} }}",
        "support",
    )
    assert not whole.errors
    data = json.loads(whole.data or b"")
    assert data.pop("learner") == data


def test_a_part_has_the_cache_key_of_the_root_field() -> None:
    moment = 'userId: "bob", asOf: "2024-02-20T00:00:00Z"'
    dates = 'from: "2024-03-01", to: "2024-03-31"'
    (part,) = requested(f"{{ learner({moment}) {{ dailyStats({dates}) {{ date }} }} }}")
    (root,) = requested(f"{{ dailyStats({moment}, {dates}) {{ date }} }}")
    assert part.cache_key == root.cache_key
    assert part.cache_key
    assert part.cache_key.user_id == "bob"


def test_a_part_fails_alone_and_the_error_names_its_place(database: str) -> None:
    backwards = 'dailyStats(from: "2024-03-31", to: "2024-03-01") { date }'
    whole = run(
        database, f"{{ learner {{ goal {{ answersPerDay }} }} b: learner {{ {backwards} }} }}"
    )
    assert [error["path"] for error in whole.errors] == [["b", "dailyStats"]]
    assert json.loads(whole.data or b"") == {
        "learner": {"goal": {"answersPerDay": 2}},
        "b": None,  # its part is not nullable
    }


def test_a_part_about_another_learner_is_forbidden(database: str) -> None:
    whole = run(database, '{ learner(userId: "bob") { streak { current } } }')
    assert [error["extensions"]["code"] for error in whole.errors] == ["FORBIDDEN"]
    assert whole.data == b"null"


def test_parts_cost_as_much_as_root_fields() -> None:
    year = 'dailyStats(from: "2023-01-01", to: "2024-12-31") { date answers }'
    parts = " ".join(f"a{number}: {year}" for number in range(12))
    for text in (f"{{ {parts} }}", f"{{ learner {{ {parts} }} }}"):
        whole = run(NOWHERE, text)
        assert [error["extensions"]["code"] for error in whole.errors] == ["QUERY_TOO_COMPLEX"]
