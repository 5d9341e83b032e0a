"""The examples of docs/api.md, its typed client and unmodified public clients work."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from progress.adapters.postgres import database
from progress.local import ports
from progress.query.http import developer_files
from tests.conftest import Store
from tests.query.test_process import fetch_json, serving
from tests.support import api, node, rows_by_hand, sample_events, subscription_client, token_issuer
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.subscription_client import LessonRecorder, Stream

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
TABS = (developer_files.FOLDER / "examples.js").read_text(encoding="utf-8")
COMPUTED_BY_THE_BATCH_JOB = {"The page.data.levelStats"}  # the job does not run here
WRONG_LESSONS = (0, 3, 6)  # all answers of these lessons are wrong


class Example(NamedTuple):
    """A query of the document, its variables, and the response that the document shows."""

    query: str
    variables: dict[str, Any]
    response: dict[str, Any]


def read_examples() -> dict[str, Example]:
    """Return the examples of the document by heading."""
    section = DOCUMENT.split("\n## Six queries\n")[1].split("\n## ")[0]
    examples = {}
    for part in section.split("\n### ")[1:]:
        (query,) = blocks(part, "graphql")
        shown = [json.loads(block) for block in blocks(part, "json")]
        variables = shown[0] if len(shown) == 2 else {}
        examples[part.partition("\n")[0]] = Example(query, variables, shown[-1])
    return examples


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


EXAMPLES = read_examples()


@pytest.fixture(scope="module")
def port(
    servers: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a query function for a database with a learner who struggles."""
    folder = tmp_path_factory.mktemp("function")
    with servers(EMBEDDED).open_database() as url:
        with closing(LessonRecorder(url)) as recorder:
            for number in (*WRONG_LESSONS, 1):
                recorder.append(*sample_events.lesson("ann", number))
        with subscription_client.query_function(url, folder) as function:
            yield function.port


def test_the_document_has_the_six_queries_that_graphiql_opens() -> None:
    assert len(EXAMPLES) == 6
    for example in EXAMPLES.values():
        assert f"`{example.query}`" in TABS


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_response_to_a_query_has_the_shape_that_the_document_shows(
    port: int, name: str
) -> None:
    query, variables, shown = EXAMPLES[name]
    if query.startswith("subscription"):
        with closing(Stream(port, query)) as stream:
            event = stream.next_event()
            assert event
            _, response = event
    else:
        body = {"query": query, "variables": variables}
        _, response = fetch_json(port, "POST", "/graphql", body, **api.headers())
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
        *("QUERY_TOO_COMPLEX", "UNAVAILABLE", "INTERNAL", "PERSISTED_QUERY_NOT_FOUND"),
    }
    assert documented == specified


# False for a request that has only the document's hash, True for one that has the text.
NAMED, SENT = False, True
SENT_BY = {"urql": "GET", "apollo": "POST"}


@pytest.fixture
def url(store: Store, tmp_path: Path) -> Iterator[str]:
    """The URL of a running query function."""
    with (
        token_issuer.serve() as issuer,
        serving(tmp_path, **issuer.environment(store.url)) as port,
    ):
        yield f"http://{ports.HOST}:{port}/graphql"


@pytest.fixture
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the Node clients."""
    return node.workshop(request, tmp_path)


def test_the_audits_of_graphql_http_pass(clients: Path, url: str) -> None:
    audits = json.loads(
        node.run(clients, "node", "audits.mjs", URL=url, TOKEN=token_issuer.token())
    )
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    levels = Counter(audit["name"].split()[0] for audit in audits)
    assert levels == {"MUST": 13, "SHOULD": 23, "MAY": 25}


def test_generated_clients_send_persisted_queries(
    clients: Path, url: str, connection: database.Connection
) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann", "items_learned": 7})
    variables = {"URL": url, "TOKEN": token_issuer.token("ann")}
    node.run(clients, "graphql-codegen", "--config", "codegen.mjs", **variables)
    node.run(clients, "tsc")
    results = json.loads(node.run(clients, "node", "made/client.js", **variables))
    assert results["urql"]["heard"] == 7  # the update that graphql-sse received
    for client in ("urql", "apollo"):
        assert results[client]["learned"] == 7
        assert results[client]["days"] == 3
        sent = [(request["method"], request["document"]) for request in results[client]["sent"]]
        assert sent == [("GET", NAMED), (SENT_BY[client], SENT), ("GET", NAMED)]
        assert {request["status"] for request in results[client]["sent"]} == {200}


def test_graphql_sse_receives_changes(clients: Path, store: Store, tmp_path: Path) -> None:
    recorder = LessonRecorder(store.url)
    with subscription_client.query_function(store.url, tmp_path / "function") as function:
        variables = {
            "URL": f"http://{ports.HOST}:{function.port}/graphql/stream",
            "TOKEN": token_issuer.token(),
        }
        with node.lines(clients, "node", "stream.mjs", **variables) as lines:
            heard = map(json.loads, lines)
            assert next(heard)["data"] == {"streak": {"current": 0}}
            assert next(heard) == "ended"
            assert next(heard) == {"data": {"progressUpdated": None}}
            for done in (1, 2):
                recorder.add_lesson()
                assert next(heard) == {
                    "data": {"progressUpdated": {"totalSessionsCompleted": done}}
                }
            assert [*heard] == [{"status": 401}]
    recorder.close()
