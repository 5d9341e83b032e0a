"""Each argument of the schema at the edges of its type: an answer or a clear error, no crash."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLObjectType,
    Undefined,
    get_named_type,
    is_composite_type,
    is_enum_type,
    is_list_type,
    is_non_null_type,
)

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.query.graphql.schema import GRAPHQL
from tests.conftest import Store
from tests.support import api, sample_events, subscription_client
from tests.support.operation_fixtures import Operator
from tests.support.stage import append, publisher
from tests.support.subscription_client import Subscribe

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
# Valid values of the other arguments that a field requires.
_VALID = {"ID": "a", "String": "a", "Int": 1, "Date": "2024-01-01"}
_REFUSALS = {"BAD_USER_INPUT", "NOT_FOUND", "QUERY_TOO_COMPLEX", "RATE_LIMITED", "FORBIDDEN"}


class Edge(NamedTuple):
    """A document whose variable `edge` has the type of one argument."""

    document: str
    kind: str
    is_list: bool

    def values(self) -> list[Any]:
        """Return the edges of the argument's type."""
        values = [*EDGES.get(self.kind, ["", "\0", "x" * 10_000, 0]), None]
        if self.is_list:
            return [[], [[]], *([value] for value in values), values[:1] * 1_001]
        return [*values, [], {}]


def list_edges() -> Iterator[tuple[str, Edge]]:
    kinds = {
        "query": GRAPHQL.query_type,
        "mutation": GRAPHQL.mutation_type,
        "subscription": GRAPHQL.subscription_type,
    }
    for kind, parent in kinds.items():
        assert parent is not None
        for name, field in parent.fields.items():
            for argument in field.args:
                text = f"{name}{_arguments(field.args, argument)} {_selection(field.type)}"
                yield f"{name}({argument})", _edge(kind, text, field.args[argument])
            inner = get_named_type(field.type)
            if not isinstance(inner, GraphQLObjectType):
                continue
            for nested, nested_field in inner.fields.items():
                for argument in nested_field.args:
                    within = _arguments(nested_field.args, argument)
                    text = (
                        f"{name}{_arguments(field.args)} "
                        f"{{ {nested}{within} {_selection(nested_field.type)} }}"
                    )
                    yield (
                        f"{name}.{nested}({argument})",
                        _edge(kind, text, nested_field.args[argument]),
                    )


def _edge(kind: str, text: str, argument: GraphQLArgument) -> Edge:
    type_ = argument.type.of_type if is_non_null_type(argument.type) else argument.type
    # A nullable variable is allowed for a required argument only with a default.
    return Edge(
        f"{kind}($edge: {argument.type}) {{ {text} }}",
        get_named_type(argument.type).name,
        is_list_type(type_),
    )


def _arguments(arguments: dict[str, GraphQLArgument], asked: str | None = None) -> str:
    parts = [f"{asked}: $edge"] if asked else []
    parts += [
        f"{name}: {_literal(argument.type)}"
        for name, argument in arguments.items()
        if name != asked and is_non_null_type(argument.type) and argument.default_value is Undefined
    ]
    return f"({', '.join(parts)})" if parts else ""


def _literal(type_: Any) -> str:
    named = get_named_type(type_)
    if is_enum_type(named):
        return str(next(iter(named.values)))
    value = api_literal(_VALID[named.name]) if named.name in _VALID else '"2024-01-01T00:00:00Z"'
    return f"[{value}]" if is_list_type(type_.of_type) else value


def api_literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _selection(type_: Any) -> str:
    return "{ __typename }" if is_composite_type(get_named_type(type_)) else ""


EVERY_EDGE = dict(list_edges())


@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_an_argument_at_its_edge_is_answered_or_refused(
    operator: Operator, connection: Connection, kind: str
) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    events: dict[str, dict[str, Any]] = {
        "UserPreferencesChanged": {"user_id": "a", "timezone": "Pacific/Kiritimati"},
        "SessionStarted": {"user_id": "a", "session_id": "s", "item_count": 1},
    }
    append(connection, [sample_events.envelope(name, events[name], at=at) for name in events])
    Projector(connection, publisher=publisher()).catch_up_all()
    crashes = {}
    for name, edge in EVERY_EDGE.items():
        if not edge.document.startswith(kind):
            continue
        for value in edge.values():
            body = json.dumps({"query": edge.document, "variables": {"edge": value}}).encode()
            headers = api.headers("a", roles="admin")
            answer = api.read(operator.api.request("POST", "/graphql", body, headers))
            codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
            if not codes <= _REFUSALS:
                crashes[name, str(value)[:40]] = answer["errors"]
    assert crashes == {}


def test_an_argument_of_a_subscription_at_its_edge_is_answered_or_refused(
    store: Store, subscribe: Subscribe
) -> None:
    """Each stream is read up to its first event.

    A stream of milestones has no first event. It is therefore opened only with ids that it refuses:
    those that the stream of the progress has refused, and each id of a milestone.
    """
    crashes: dict[tuple[str, str], Any] = {}
    refused: list[Any] = []
    with subscription_client.query_function(store.url) as function:
        for name, edge in EVERY_EDGE.items():
            if not edge.document.startswith("subscription"):
                continue
            values = refused if name == "milestoneReached(userId)" else edge.values()
            for value in values:
                if value is None and name == "milestoneReached(after)":
                    continue
                stream = subscribe(function.port, edge.document, "a", roles="admin", edge=value)
                if stream.status == 200:
                    event = stream.next_event()
                    body: dict[str, Any] = event[1] if event else {}
                else:
                    body = stream.read_body()
                stream.close()
                errors = body.get("errors", [])
                codes = {error["extensions"]["code"] for error in errors}
                if not body or not codes <= _REFUSALS:
                    crashes[name, str(value)[:40]] = body
                if errors and name == "progressUpdated(userId)":
                    refused.append(value)
    assert crashes == {}
    assert refused


def test_every_argument_is_asked() -> None:
    asked = {
        "deadLetters(reason)",
        "knowledge(on)",
        "group.hardestItems(first)",
        "setGoal(answersPerDay)",
        "groupUpdated(groupId)",
    }
    assert asked <= EVERY_EDGE.keys()
    assert len(EVERY_EDGE) > 130
