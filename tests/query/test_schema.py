"""The schema, the documents for developers, and unmodified public clients agree."""

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from graphql import (
    GraphQLSchema,
    build_schema,
    extend_schema,
    is_required_argument,
    lexicographic_sort_schema,
    parse,
    print_schema,
    validate,
)

from progress.adapters.postgres.database import Connection
from progress.projections import views
from progress.query.graphql import descriptions
from progress.query.graphql.schema import FIELDS, GRAPHQL, SCHEMA
from progress.query.http import developer_files
from progress.serve import ports
from tests.support import api, model_rows, node, rows_by_hand, sample_events, token_issuer
from tests.support.http_client import fetch_json
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.stage import connect
from tests.support.subscription_client import LessonRecorder, Stream, query_function

SPECIFIED = (Path(__file__).with_name("api.graphql")).read_text(encoding="utf-8")
ADDITIONS = Path(__file__).with_name("api_additions.graphql")
COLUMNS = Path(__file__).parents[1] / "projections" / "views.json"
ADDED = ADDITIONS.read_text(encoding="utf-8")
CONTRACT = extend_schema(build_schema(SPECIFIED), parse(ADDED))


def test_the_schema_and_the_views_match_the_lists_of_public_names(connection: Connection) -> None:
    """This test adds what is new to the lists, and then fails once."""
    views.follow(connection, None)
    columns, listed = model_rows.list_view_columns(connection), json.loads(COLUMNS.read_text())
    for view, expected in listed.items():
        lost = expected.items() - columns.get(view, {}).items()
        assert not lost, f"analysts use these columns of {view}: {lost}"
    if columns != listed:
        COLUMNS.write_text(json.dumps(columns, indent=2) + "\n")
    if added := list_additions():
        ADDITIONS.write_text(ADDED + added, encoding="utf-8")
    hint = f"commit {COLUMNS.name} and {ADDITIONS.name}, if they list the new names now"
    assert (types_of(SCHEMA._schema), columns) == (types_of(CONTRACT), listed), hint


def list_additions() -> str:
    """Return the root fields and the types that the contract lacks, as the additions list them."""
    texts = {text.split(" {")[0]: text for text in types_of(SCHEMA._schema)}
    lacking = texts.keys() - {text.split(" {")[0] for text in types_of(CONTRACT)}
    root = CONTRACT.query_type.fields if CONTRACT.query_type else {}
    lines = texts["type Query"].splitlines()[1:-1]
    fields = [line for line in lines if re.split("[(:]", line.strip())[0] not in root]
    query = ["extend type Query {", *fields, "}"] if fields else []
    return "".join(f"{text}\n" for text in [*query, *(texts[name] for name in sorted(lacking))])


def types_of(schema: GraphQLSchema) -> list[str]:
    copy = build_schema(descriptions.print_bare(schema))
    return sorted(print_schema(lexicographic_sort_schema(copy)).split("\n\n"))


def test_a_type_begins_with_what_names_its_rows_and_not_with_inherited_fields() -> None:
    types = SCHEMA._schema.type_map
    names = {"DailyStats": "date", "PeriodStats": "start", "WordList": "id", "LevelStats": "level"}
    assert {name: next(iter(types[name].fields)) for name in names} == names  # type: ignore[attr-defined]


def test_the_descriptions_of_the_contract_are_unchanged() -> None:
    fixed = texts_of(CONTRACT)
    described = texts_of(SCHEMA._schema)
    assert {key: described[key] for key, text in fixed.items() if text} == {
        key: text for key, text in fixed.items() if text
    }


def test_every_type_field_argument_and_enum_value_is_described_in_sentences() -> None:
    for key, text in texts_of(SCHEMA._schema).items():
        assert text, f"{key}: tell it in the model's SQL, in descriptions.txt or in columns.txt"
        assert re.search(r"[.)]$", text), f"{key}: {text}"


def texts_of(schema: GraphQLSchema) -> dict[str, str | None]:
    """Map the full key of each member, such as `Type.field`, to the member's description."""
    return {keys[0]: member.description for keys, member in descriptions.list_members(schema)}


THIRD_PARTY = (developer_files.FOLDER / "THIRD_PARTY.md").read_text(encoding="utf-8")
BUDGET = 400_000  # compressed bytes of all files


def test_without_introspection_the_schema_is_served_to_everyone_and_graphiql_to_nobody() -> None:
    with api.serve(api.NOWHERE, graphql_introspection=False) as query_api:
        served = query_api.request("GET", "/schema.graphql")
        assert served.status_code == 200
        assert served.headers["content-type"] == "text/plain; charset=utf-8"
        assert served.headers["cache-control"] == "public, max-age=300"
        text = bytes(served.body).decode()
        assert print_schema(build_schema(text)) == print_schema(SCHEMA._schema)
        tag = {"if-none-match": served.headers["etag"]}
        again = query_api.request("GET", "/schema.graphql", headers=tag)
        assert (again.status_code, again.body) == (304, b"")
        packed = query_api.request("GET", "/schema.graphql", headers={"accept-encoding": "gzip"})
        assert gzip.decompress(packed.body) == served.body
        assert query_api.request("POST", "/schema.graphql").status_code == 404
        assert query_api.request("GET", "/graphiql/x/main.js").status_code == 404
        page = query_api.request("GET", "/graphql", headers={"accept": "text/html"})
        assert page.status_code == 406
        (error, *_) = query_api.post("{ __schema { queryType { name } } }")["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert query_api.data("{ __typename }") == {"__typename": "Query"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with api.serve(api.NOWHERE) as query_api:
        index = query_api.request("GET", "/graphql", headers={"accept": "text/html"})
        urls = re.findall(r'"(graphiql/\w{16}/[\w.-]+)"', bytes(index.body).decode())
        found = {"index.html": bytes(index.body)}
        for url in urls:
            served = query_api.request("GET", f"/{url}", headers={"accept-encoding": "gzip"})
            assert "immutable" in served.headers["cache-control"]
            found[url.rpartition("/")[2]] = bytes(served.body)
        return found


def test_graphiql_is_small(files: dict[str, bytes]) -> None:
    assert len(files) == 7
    assert sum(map(len, files.values())) < BUDGET


def test_graphiql_has_its_own_content_security_policy() -> None:
    with api.serve(api.NOWHERE) as query_api:
        page = query_api.request("GET", "/graphql", headers={"accept": "text/html"})
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "http" not in policy
        assert "unsafe" not in query_api.request("GET", "/").headers["content-security-policy"]


def test_the_third_party_files_are_unchanged() -> None:
    listed = dict(re.findall(r"^\| `(\S+)` \| \S+ \| `(\w{64})` \|$", THIRD_PARTY, re.MULTILINE))
    for name, sha256 in listed.items():
        content = (developer_files.FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
    assert {path.name for path in developer_files.FOLDER.glob("*.min.*")} == listed.keys()


DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
REACT = (Path(__file__).parents[2] / "docs" / "react.md").read_text(encoding="utf-8")
TABS = (developer_files.FOLDER / "examples.js").read_text(encoding="utf-8")
COMPUTED_BY_THE_BATCH_JOB = {"The page.data.levelStats"}  # the job does not run here
WRONG_LESSONS = (0, 3, 6)  # all answers of these lessons are wrong


class Example(NamedTuple):
    query: str
    variables: dict[str, Any]
    response: dict[str, Any]


def read_examples() -> dict[str, Example]:
    six, learner = (
        DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        for heading in ("Six queries", "One learner at one moment")
    )
    examples = {}
    for part in [*six.split("\n### ")[1:], f"Learner\n{learner}"]:
        (query,) = blocks(part, "graphql")
        shown = [json.loads(block) for block in blocks(part, "json")]
        variables = shown[0] if len(shown) == 2 else {}
        examples[part.partition("\n")[0]] = Example(query, variables, shown[-1])
    return examples


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


EXAMPLES = read_examples()


class Service(NamedTuple):
    database_url: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.port}/graphql"


@pytest.fixture(scope="module")
def service(servers: Callable[[str], Server]) -> Iterator[Service]:
    """A query function for a database with a learner who struggles, ann."""
    with servers(EMBEDDED).open_database() as url:
        with closing(LessonRecorder(url)) as recorder:
            for number in (*WRONG_LESSONS, 1):
                recorder.append(*sample_events.lesson("ann", number))
        with query_function(url) as function:
            yield Service(url, function.port)


def test_the_document_says_what_to_subscribe_to() -> None:
    section = DOCUMENT.split("**What to subscribe to.**")[1].split("\n**")[0]
    rows = [
        map(names_in, row) for row in re.findall(r"^\| (`.+) \| (.+) \|$", section, re.MULTILINE)
    ]
    told = [(queried, subscribed) for queried, subscribed in rows]
    assert set().union(*(queried for queried, _ in told)) <= FIELDS.keys()
    assert GRAPHQL.subscription_type
    assert set().union(*(s for _, s in told)) == GRAPHQL.subscription_type.fields.keys()
    (of_the_job,) = (queried for queried, subscribed in told if not subscribed)
    batch = {name for name, field in FIELDS.items() if field.cache and field.cache.batch}
    assert of_the_job == batch - {"milestones"}  # the job adds levels only


def names_in(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_the_short_queries_of_the_document_are_valid() -> None:
    shown = re.findall(r"^    (\{ .+\})$", DOCUMENT, re.MULTILINE)
    assert len(shown) >= 4
    for query in shown:
        assert validate(GRAPHQL, parse(query)) == []


def test_the_document_has_the_six_queries_that_graphiql_opens() -> None:
    *six, _ = EXAMPLES.values()
    assert len(six) == 6
    for example in six:
        assert f"`{example.query}`" in TABS


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_response_to_a_query_has_the_shape_that_the_document_shows(
    service: Service, name: str
) -> None:
    query, variables, shown = EXAMPLES[name]
    if query.startswith("subscription"):
        with closing(Stream(service.port, query)) as stream:
            event = stream.next_event()
            assert event
            _, response = event
    else:
        body = {"query": query, "variables": variables}
        _, response = fetch_json(service.port, "POST", "/graphql", body, **api.headers())
    assert_same_shape(shown, response, name)


def assert_same_shape(shown: Any, found: Any, where: str) -> None:
    """Assert that both have the same keys and types; null matches any value."""
    if shown is None or found is None:
        return
    if isinstance(shown, dict):
        assert isinstance(found, dict), where
        assert shown.keys() == found.keys(), where
        for key, value in shown.items():
            assert_same_shape(value, found[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert isinstance(found, list), where
        assert found or where in COMPUTED_BY_THE_BATCH_JOB, where
        for entry in found:
            assert_same_shape(shown[0], entry, f"{where}[]")
    elif where.endswith((".message", ".code")):
        assert found == shown
    else:
        assert isinstance(found, type(shown)) or {type(shown), type(found)} == {int, float}, where


def test_the_document_lists_the_specified_error_codes() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT, re.MULTILINE))
    specified = {
        *("BAD_USER_INPUT", "UNAUTHENTICATED", "FORBIDDEN", "NOT_FOUND", "RATE_LIMITED"),
        *("QUERY_TOO_COMPLEX", "UNAVAILABLE", "INTERNAL", "PERSISTED_QUERY_NOT_SUPPORTED"),
    }
    assert documented == specified


# False for a request that has only the document's hash, True for one that has the text.
NAMED, SENT = False, True
SENT_BY = {"urql": "GET", "apollo": "POST"}


@pytest.fixture(scope="module")
def clients(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, service: Service
) -> Path:
    """The folder of the Node clients. It has the code of docs/react.md, and all is compiled."""
    folder = node.workshop(request, tmp_path_factory.mktemp("clients"))
    for name, text in re.findall(r"(?ms)^```tsx? title=\"(\S+)\"\n(.*?)^```", REACT):
        (folder / name).write_text(text, encoding="utf-8")
    variables = {"URL": service.url, "TOKEN": token_issuer.token()}
    node.run(folder, "graphql-codegen", "--config", "codegen.mjs", **variables)
    node.run(folder, "tsc")
    return folder


@pytest.mark.exhaustive
def test_the_audits_of_graphql_http_pass(clients: Path, service: Service) -> None:
    variables = {"URL": service.url, "TOKEN": token_issuer.token()}
    audits = json.loads(node.run(clients, "node", "audits.mjs", **variables))
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    levels = Counter(audit["name"].split()[0] for audit in audits)
    assert levels == {"MUST": 13, "SHOULD": 23, "MAY": 25}


@pytest.mark.exhaustive
def test_generated_clients_that_send_a_hash_go_on_with_the_document(
    clients: Path, service: Service
) -> None:
    with closing(connect(service.database_url)) as connection:
        rows_by_hand.insert(connection, "user_progress", {"user_id": "eve", "items_learned": 7})
    variables = {"URL": service.url, "TOKEN": token_issuer.token("eve")}
    results = json.loads(node.run(clients, "node", "made/client.js", **variables))
    for client in ("urql", "apollo"):
        assert results[client]["learned"] == 7
        assert results[client]["days"] == 3
        sent = [(request["method"], request["document"]) for request in results[client]["sent"]]
        assert sent == [("GET", NAMED), (SENT_BY[client], SENT), (SENT_BY[client], SENT)]
        assert {request["status"] for request in results[client]["sent"]} == {200}


@pytest.mark.exhaustive
def test_relay_compiles_a_query_per_list(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Relay's compiler refuses a connection whose type lacks a field of the specification."""
    clients = node.workshop(request, tmp_path)
    relay = clients / "relay"
    relay.mkdir()
    (relay / "schema.graphql").write_text(SCHEMA.as_str(), encoding="utf-8")
    assert SCHEMA._schema.query_type
    lists = {
        name: "".join(
            f', {one}: "x"' for one in field.args if is_required_argument(field.args[one])
        )
        for name, field in SCHEMA._schema.query_type.fields.items()
        if "Connection" in str(field.type)
    }
    fields = "".join(
        f'{name}(first: 9, after: $after{more}) @connection(key: "All_{name}") {{'
        " edges { node { __typename } } }\n"
        for name, more in lists.items()
    )
    document = f"graphql`query ListsQuery($after: String) {{ {fields} }}`;\n"
    (relay / "Lists.js").write_text(document, encoding="utf-8")
    options = {"src": "relay", "schema": "relay/schema.graphql", "language": "javascript"}
    (clients / "relay.config.json").write_text(json.dumps(options), encoding="utf-8")
    node.run(clients, "relay-compiler", "relay.config.json")
    compiled = (relay / "__generated__" / "ListsQuery.graphql.js").read_text(encoding="utf-8")
    assert [name for name in lists if f"__All_{name}_connection" not in compiled] == []


@pytest.mark.exhaustive
def test_the_react_pages_show_lists_refresh_tokens_and_follow_changes(
    clients: Path, service: Service
) -> None:
    """The document's code is compiled and run: the test has no copy of it."""
    variables = {"URL": service.url, "TOKEN": token_issuer.token("ann")}
    results = json.loads(node.run(clients, "node", "made/react.js", **variables))
    for client in ("apollo", "urql"):
        found = results[client]
        assert re.search("<h1>[1-9][0-9]* items learned</h1>", found["first"]), client
        assert [found[page].count("<li>") for page in ("first", "second")] == [2, 3], client
        assert "More</button>" in found["first"]
        assert (found["code"], found["heard"]) == ("BAD_USER_INPUT", "ann"), client


@pytest.mark.exhaustive
def test_graphql_sse_receives_changes(clients: Path, service: Service) -> None:
    variables = {"URL": f"{service.url}/stream", "TOKEN": token_issuer.token("bob")}
    with (
        closing(LessonRecorder(service.database_url)) as recorder,
        node.lines(clients, "node", "stream.mjs", **variables) as lines,
    ):
        heard = map(json.loads, lines)
        assert next(heard)["data"] == {"streak": {"current": 0}}
        assert next(heard) == "ended"
        assert next(heard) == {"data": {"progressUpdated": None}}
        for done in (1, 2):
            recorder.add_lesson("bob")
            assert next(heard) == {"data": {"progressUpdated": {"totalSessionsCompleted": done}}}
        assert [*heard] == [{"status": 401}]
