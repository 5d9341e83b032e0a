"""The schema equals the contract; the files for developers serve it."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, extend_schema, parse, print_schema

from progress.query.graphql import descriptions
from progress.query.graphql.schema import SCHEMA
from progress.query.http import developer_files
from tests.support import api

SPECIFIED, ADDED = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("api.graphql", "api_additions.graphql")
)
CONTRACT = extend_schema(build_schema(SPECIFIED), parse(ADDED))


def test_the_printed_schema_matches_the_contract() -> None:
    assert types_of(SCHEMA._schema) == types_of(CONTRACT)


def types_of(schema: GraphQLSchema) -> list[str]:
    """Return the printed types of a schema in alphabetical order, without descriptions."""
    copy = build_schema(print_schema(schema))
    for _, member in descriptions.list_members(copy):
        member.description = None
    return sorted(print_schema(copy).split("\n\n"))


def test_the_descriptions_of_the_contract_are_unchanged() -> None:
    fixed = texts_of(CONTRACT)
    described = texts_of(SCHEMA._schema)
    assert {key: described[key] for key, text in fixed.items() if text} == {
        key: text for key, text in fixed.items() if text
    }


def test_every_type_field_argument_and_enum_value_is_described_in_sentences() -> None:
    for key, text in texts_of(SCHEMA._schema).items():
        assert text, f"{key}: add it to progress/query/graphql/descriptions.txt"
        assert re.search(r"[.)]$", text), f"{key}: {text}"


def texts_of(schema: GraphQLSchema) -> dict[str, str | None]:
    """Map the full key of each member, such as `Type.field`, to the member's description."""
    return {keys[0]: member.description for keys, member in descriptions.list_members(schema)}


THIRD_PARTY = (developer_files.FOLDER / "THIRD_PARTY.md").read_text(encoding="utf-8")
BUDGET = 400_000  # compressed bytes of all files


def test_the_schema_is_served_to_everyone_even_without_introspection() -> None:
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


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """GraphiQL's files over HTTP, compressed."""
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


def test_graphiql_s_files_are_not_served_if_introspection_is_disabled() -> None:
    with api.serve(api.NOWHERE, graphql_introspection=False) as query_api:
        assert query_api.request("GET", "/graphiql/x/main.js").status_code == 404


def test_the_third_party_files_are_unchanged() -> None:
    listed = dict(re.findall(r"^\| `(\S+)` \| \S+ \| `(\w{64})` \|$", THIRD_PARTY, re.MULTILINE))
    for name, sha256 in listed.items():
        content = (developer_files.FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
    assert {path.name for path in developer_files.FOLDER.glob("*.min.*")} == listed.keys()
