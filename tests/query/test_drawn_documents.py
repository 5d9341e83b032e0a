"""Drawn documents of the whole schema: an answer of its types, or an error with a code of the API.

The gate asks the same documents each time. HYPOTHESIS_PROFILE=thorough asks 50,000.
"""

import base64
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast
from urllib.parse import urlencode

import graphql
import hypothesis
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    is_composite_type,
    is_list_type,
)
from graphql.type import get_nullable_type

from progress.projections import batch
from progress.query.graphql import learner_mutations
from progress.query.graphql.schema import GRAPHQL
from progress.query.http import protocol
from progress.query.http.subscriptions import EVENTS, EventStream
from tests.conftest import Store
from tests.query.test_accesses import write_field
from tests.query.test_compiled import Query, Writer, fold_log, query
from tests.support import api, http_client, operation_fixtures, recent_events, sample_events
from tests.support.api import QUERY, Api
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import url_of
from tests.support.stage import append
from tests.support.token_issuer import token

pytestmark = pytest.mark.timeout(86_400)

CALLERS = (
    *(("ann", "learner"), ("bob", "learner"), ("gone", "learner"), ("new", "learner")),
    *(("tom", "teacher"), ("sue", "support"), ("pub", "publisher"), *(("ada", "admin"),) * 11),
)
# Without UNAVAILABLE: nothing is away, and a request of over ten seconds would be.
CODES = {"BAD_USER_INPUT", "FORBIDDEN", "NOT_FOUND", "QUERY_TOO_COMPLEX", "RATE_LIMITED"}
INTROSPECTION = (
    "__schema { queryType { name } directives { name args { name defaultValue } } }",
    '__type(name: "Streak") { kind fields { name type { kind ofType { name } } } }',
    '__type(name: "Nothing") { name }',
)
_TEXTS = ["", " ", "\0", "a\0b", "\ud800", "x" * 10_000, "%", "_", "\\", "'", "\u202e", "🎓" * 200]
EDGES: dict[str, list[Any]] = {
    "ID": [*_TEXTS, 0, -1, 2**31, 2**63],
    "String": _TEXTS,
    "Int": [0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**63, 1.5, "1"],
    "Boolean": [True, False, "true"],
    "Date": [
        *("0001-01-01", "9999-12-31", "0000-01-01", "2024-02-30", "10000-01-01", "", "\0", 7),
        *("-infinity", "1969-12-31", "2024-01-01T00:00:00Z"),
    ],
    "DateTime": [
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00"),
        *("9999-12-31T23:59:59-12:00", "2024-01-01", "2024-01-01T00:00:60Z", "", "\0", 7),
        *("1969-12-31T23:59:59Z", "2024-01-01T00:00:00+99:99", "infinity"),
    ],
}
# Cursors that no list has given.
CURSORS = [
    base64.urlsafe_b64encode(text.encode()).decode()
    for text in (
        *("", "[]", "[1]", "[1e300]", f"[{2**70}]", '["RECENT", 1e300, "a"]', '["DUE", null, 7]'),
        *(
            '["ACCURACY", "x", "a"]',
            '["DUE", 9e99, "\\u0000"]',
            '["2024-03-01", "STREAK", null, 1e20]',
        ),
        *('["2024-02-30", "STREAK", null, 3]', '["2024-03-01", "LEVEL_REACHED", "A7", null]'),
    )
]
# The types without the resolvers: graphql-core completes the values of a response again.
TYPES = graphql.build_schema(graphql.print_schema(GRAPHQL))
DAY = r"\d{4}-\d\d-\d\d"
FORMS = {"Date": DAY, "DateTime": DAY + r"T\d\d:\d\d:\d\d(\.\d{6})?Z"}


class Drawn(Writer):
    """Queries of every field, also about the past."""

    omitted = ()
    aliases = ("",) * 12 + Writer.aliases
    found: ClassVar[dict[str, list[Any]]] = {}  # what the database has, by argument

    def roots(self) -> Sequence[str]:
        return list(self.parent.fields)

    def root(self, number: int) -> str:
        if self.parent is QUERY and self.chance(12):
            return f"r{number}: {self.chance_of.choice(INTROSPECTION)}"
        return super().root(number)

    def values(self, name: str, argument: GraphQLArgument) -> Sequence[Any]:
        known = (
            self.found.get(f"{self.asked}.{name}")
            or self.found.get(name)
            or super().values(name, argument)
        )
        if known == (None,) or (self.is_wild and self.chance(4)):
            known = EDGES.get(get_named_type(argument.type).name, known)
        if is_list_type(get_nullable_type(argument.type)) and not isinstance(known[0], list):
            return [self.chance_of.choices(known, k=size) for size in (0, 1, 2, 40)]
        return known


class DrawnMutation(Drawn):
    kind, shared = "mutation", "__typename"
    parent = cast("GraphQLObjectType", GRAPHQL.mutation_type)


class DrawnSubscription(Drawn):
    kind, shared, most_roots = "subscription", "__typename", 1
    parent = cast("GraphQLObjectType", GRAPHQL.subscription_type)


@pytest.fixture
def asked(
    store: Store,
    operator: Operator,
    patient_redis: str,
    fake_publisher: FakePublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Api]:
    with closing(fold_log(store.url).connection) as connection:
        days = [event for n in range(9) for event in recent_events.study("ann", n, n)]
        append(
            connection, [*days, *sample_events.varied_study("cyd"), *sample_events.choices("ann")]
        )
        for user, group in (("ann", "g1"), ("bob", "g1"), ("gone", "g2")):
            append(connection, [recent_events.of("LearnerJoinedGroup", user, 3, group_id=group)])
        append(connection, [*sample_events.lesson("gone", 1), sample_events.user_deleted("gone")])
        letters = operation_fixtures.write_dead_letters(connection, 3)
        batch.run(connection)
    for name, form in FORMS.items():
        TYPES.type_map[name].serialize = partial(require, form)  # type: ignore[attr-defined]
    Drawn.found = find_values(operator, letters)
    monkeypatch.setattr(learner_mutations, "_MAX_WAIT_S", 0.1)  # nothing folds what is recorded
    with api.serve(
        url_of(store.url, "query"),
        redis_url=patient_redis,
        pubsub_emulator_host=fake_publisher.address,
    ) as made:
        yield made


def find_values(operator: Operator, letters: list[str]) -> dict[str, list[Any]]:
    operations = [operator.start("runBatch"), operator.start("exportUser", 'userId: "ann",')]
    end = "pageInfo { endCursor }"
    pages = operator.data(
        f"""{{ itemStats(userId: "ann", first: 2) {{ {end} }} itemDifficulty(first: 1) {{ {end} }}
          milestones(userId: "ann", first: 2) {{ {end} }} groups(first: 1) {{ {end} }}
          learners(groupId: "g1", first: 1) {{ {end} }} operations(first: 1) {{ {end} }}
          events(userId: "ann", first: 4) {{ {end} edges {{ node {{ eventId }} }} }}
          deadLetters(first: 2) {{ {end} }} accesses(userId: "ann", first: 1) {{ {end} }} }}"""
    )
    now = datetime.now(UTC)
    ends = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T12:00:00Z"]
    moments = ["2024-02-20T07:00:00+05:45", "2024-03-09T23:59:59.999999-11:00", now.isoformat()]
    days = [(now + timedelta(days=n)).date().isoformat() for n in (-300, -1, 0, 1, 7, 8, 400)]
    after = {f"{name}.after": [page["pageInfo"]["endCursor"]] for name, page in pages.items()}
    return after | {
        "answersPerDay": [0, 1, 20, 1_000, 1_001],
        "asOf": [*moments, *ends, None],
        "before": [*moments, *ends],
        "date": [*days, "0001-01-01", "9999-12-31"],
        "eventId": [edge["node"]["eventId"] for edge in pages["events"]["edges"]],
        "from": ["2024-02-01", days[0], "0001-01-01", "9999-12-30"],
        "groupId": ["g1", "g1", "g2"],
        "id": [one["id"] for one in operations],
        "idempotencyKey": ["k1", "k2", "k3"],
        "ids": letters,
        "knownAt": [*moments, *ends, None],
        "learners": ["ann", "gone", "nobody"],
        "on": [*days, "0001-01-01", "9999-12-31"],
        "reason": ["", letters[0]],
        "text": ["a", "an", "ann", "g", "%"],
        "to": ["2024-04-01", days[3], "0001-01-31", "9999-12-31"],
        "userId": ["ann", "bob", "cyd", "gone", "new", None],
    }


class Response(NamedTuple):
    """The response to a drawn document; the body of an open stream is its first result."""

    document: Query
    status: int
    body: dict[str, Any]


def ask(asked: Api, seed: int) -> Response:
    chance_of = random.Random(f"request {seed}")
    kind = chance_of.choice((*(Drawn,) * 6, DrawnMutation, DrawnSubscription))
    document = query(seed, kind)
    user, role = chance_of.choice(CALLERS)
    is_stream = (kind is DrawnSubscription) ^ (chance_of.random() < 0.1)
    accept = EVENTS if is_stream else chance_of.choice([protocol.JSON, protocol.GRAPHQL])
    path = "/graphql/stream" if is_stream else "/graphql"
    headers = http_client.headers(token(user, roles=[role], groups=["g1", "g2"]), accept=accept)
    return send(asked, document, path, headers, is_get=chance_of.random() < 0.2)


def send(
    asked: Api, document: Query, path: str, headers: dict[str, str], *, is_get: bool = False
) -> Response:
    body: dict[str, Any] = {"query": document.text, "variables": document.variables}
    if document.operation_name is not None:
        body["operationName"] = document.operation_name
    if is_get:
        sent = urlencode({**body, "variables": json.dumps(document.variables)})
        response = asked.request("GET", f"{path}?{sent}", b"", headers)
    else:
        response = asked.request("POST", path, json.dumps(body).encode(), headers)
    if isinstance(response, EventStream):
        text = response._subscription.first or b'{"data": null, "errors": []}'
        response._subscription.close()
        response._resources.close()
    else:
        text = bytes(response.body).removeprefix(b"event: next\ndata: ").partition(b"\n")[0]
    return Response(document, response.status_code, json.loads(text))


def at_edges(kind: type[Drawn]) -> Iterator[Query]:
    """Yield a document for each argument of each root field, and of each field in it, at an edge.

    A null may be sent for each argument, so the server decides whether one is allowed.
    """
    for root, field in kind.parent.fields.items():
        inside = getattr(get_named_type(field.type), "fields", {})
        called = {root: field, **{name: each for name, each in inside.items() if each.args}}
        for name, each in called.items():
            for argument, definition in each.args.items():
                text = call(name, each, **{argument: "$edge"})
                if each is not field:
                    text = f"{call(root, field).removesuffix('{ __typename }')} {{ {text} }}"
                document = f"{kind.kind} ($edge: {definition.type}) {{ {text} }}"
                for value in list_edges(argument, definition):
                    yield Query(document, {"edge": value}, None)


def call(name: str, field: GraphQLField, /, **values: str) -> str:
    unknown = dict.fromkeys(("id", "eventId"), '"00000000-0000-0000-0000-000000000000"')
    text = write_field(name, field, "bob", **{"first": "1", **unknown, **values})
    is_object = is_composite_type(get_named_type(field.type))
    return text.partition(" {")[0] + (" { __typename }" if is_object else "")


def list_edges(name: str, argument: GraphQLArgument) -> list[Any]:
    kind = get_named_type(argument.type).name
    values = [*EDGES.get(kind, ["", "\0", "x" * 10_000, 0]), None]
    if is_list_type(get_nullable_type(argument.type)):
        return [[], [[]], *([value] for value in values), values[:1] * 1_001]
    return [*values, [], {}, *(CURSORS if name == "after" else ())]


def find_problems(response: Response) -> Iterator[object]:
    """Yield what contradicts the schema or the codes of errors."""
    document, status, body = response
    data, errors = body.get("data"), body.get("errors", [])
    yield from (one for one in errors if one["extensions"]["code"] not in CODES)
    if status != 200 and ("data" in body or status not in (400, 405, 429)):
        yield status
    if data is None:
        if not errors and "errors" not in body:
            yield body
        return
    for error in errors:
        if (found := at(data, error["path"])) is not None:
            yield error, found
    again = graphql.execute_sync(
        TYPES,
        graphql.parse(document.text),
        data,
        variable_values=document.variables,
        operation_name=document.operation_name,
        field_resolver=lambda parent, info, **_: parent[info.path.key],
    )
    if again.errors or again.data != data:
        yield again.errors, again.data, data


def require(form: str, text: str) -> str:
    assert re.fullmatch(form, text), text
    return text


def at(value: Any, path: list[Any]) -> Any:
    for key in path:
        value = None if value is None else value[key]
    return value


def test_a_drawn_document_gets_an_answer_of_the_types_or_an_error_with_a_code(asked: Api) -> None:
    problems: list[str] = []
    codes: Counter[str] = Counter()
    for seed in range(50 * hypothesis.settings().max_examples):
        response = ask(asked, seed)
        if found := list(find_problems(response)):
            problems.append(f"seed {seed}: {response.document} {found}")
        errors = response.body.get("errors", [])
        codes.update({error["extensions"]["code"] for error in errors} or {"none"})
    assert not problems, "\n".join(problems)
    assert codes["none"] > sum(codes.values()) / 4


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("kind", [Drawn, DrawnMutation, DrawnSubscription])
def test_each_argument_at_an_edge_of_its_type_gets_such_an_answer(
    asked: Api, kind: type[Drawn], step: int
) -> None:
    """The gate asks each edge of a type once, and every fourth document."""
    is_stream = kind is DrawnSubscription
    path = "/graphql/stream" if is_stream else "/graphql"
    problems, documents = [], [*at_edges(kind)]
    edges = {(each.text.partition("{")[0], f"{each.variables}"): each for each in documents}
    for document in (*edges.values(), *documents[::step]):
        accept = EVENTS if is_stream else protocol.JSON
        headers = http_client.headers(token("bob", roles=["admin"]), accept=accept)
        if found := list(find_problems(send(asked, document, path, headers))):
            problems.append(f"{document} {found}")
    assert not problems, "\n".join(problems)
    assert len(documents) > {Drawn: 1_500, DrawnMutation: 200, DrawnSubscription: 80}[kind]
