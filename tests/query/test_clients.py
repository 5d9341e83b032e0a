"""Unmodified public GraphQL clients work with the query function; graphql-http's audits pass."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from progress.adapters.postgres import database
from progress.local import ports, readiness
from tests.conftest import Store
from tests.query.test_process import started
from tests.support import node, rows_by_hand, subscription_client, token_issuer
from tests.support.subscription_client import LessonRecorder

# False for a request that has only the document's hash, True for one that has the text.
NAMED, SENT = False, True
SENT_BY = {"urql": "GET", "apollo": "POST"}


@pytest.fixture
def url(store: Store, tmp_path: Path) -> Iterator[str]:
    """The URL of a running query function."""
    port = ports.reserve()
    with token_issuer.serve() as issuer, started(tmp_path, port, **issuer.environment(store.url)):
        readiness.wait(lambda: ports.is_listening(port), "the query function")
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
