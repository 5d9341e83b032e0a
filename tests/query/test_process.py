"""The query function as deployed: under functions-framework, with a read-only database user."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.local import ports, processes, readiness
from tests.conftest import Store
from tests.query.test_questions import EVERY_QUESTION, question
from tests.support import api, rows_by_hand, token_issuer
from tests.support.api import Body

ROOT = Path(__file__).parents[2]
DOOR = ROOT / "functions" / "query" / "main.py"

Post = Callable[..., tuple[int, Body]]


@contextmanager
def started(
    tmp_path: Path, port: int, door: Path = DOOR, /, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the function's process with these environment variables during the `with` block."""
    environment = settings.child_env(
        **variables, XDG_RUNTIME_DIR=str(tmp_path), PYTHONPATH=str(ROOT)
    )
    options = ["--target", "query", "--source", str(door), "--port", str(port)]
    with (tmp_path / "output").open("wb") as output:
        process = processes.start(
            [sys.executable, "-m", "functions_framework", *options, "--host", ports.HOST],
            output=output,
            environment=environment,
        )
    try:
        yield process
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)


def fetch_json(
    port: int, method: str, path: str, body: object = None, **more: str
) -> tuple[int, Body]:
    """Send a request; return the status and the parsed body of the response."""
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=20)
    try:
        connection.request(method, path, json.dumps(body), more)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def connection(store: Store) -> Iterator[database.Connection]:
    made = rows_by_hand.connect(store.url)
    made.run(rows_by_hand.blocks()["reader"])
    yield made
    made.close()


@pytest.fixture
def port(store: Store, connection: database.Connection, tmp_path: Path) -> Iterator[int]:
    """The port of a running query function."""
    del connection  # the fixture `connection` has created the database user
    parts = urlsplit(store.url)
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=f"progress_test_query@{host}").geturl()
    port = ports.reserve()
    with token_issuer.serve() as issuer, started(tmp_path, port, **issuer.environment(url)):
        readiness.wait(lambda: ports.is_listening(port), "the query function")
        ready = {"status": "ok", "database": "ok", "cache": "off"}
        assert fetch_json(port, "GET", "/ready") == (200, ready)
        yield port


@pytest.fixture
def post(port: int) -> Post:
    """A function that posts a learner's query."""
    return lambda query, user="ann", **more: fetch_json(
        port, "POST", "/graphql", {"query": query}, **api.headers(user, **more)
    )


def test_every_field_can_be_queried_over_http(post: Post, connection: database.Connection) -> None:
    rows_by_hand.insert(connection, "user_progress", {"user_id": "ann", "items_learned": 7})
    for name in EVERY_QUESTION:
        status, answer = post(question(name))
        assert (status, answer.get("errors")) == (200, None)
    status, answer = post("{ userProgress { userId totalItemsLearned } }")
    assert answer["data"] == {"userProgress": {"userId": "ann", "totalItemsLearned": 7}}
    status, answer = post("{ projectionStatus { name } }", roles=["admin"])
    assert len(answer["data"]["projectionStatus"]) == 11
    assert post("{ a: b }")[0] == 200
    assert post("{ a: b }", accept="application/graphql-response+json")[0] == 400


def test_concurrent_requests_each_get_their_own_response(
    post: Post, connection: database.Connection
) -> None:
    learners = [f"learner {n}" for n in range(60)]
    rows_by_hand.insert(connection, "user_progress", *({"user_id": user} for user in learners))
    with ThreadPoolExecutor(20) as pool:
        for user, (status, answer) in zip(
            learners,
            pool.map(lambda user: post("{ userProgress { userId } }", user), learners),
            strict=True,
        ):
            assert (status, answer["data"]) == (200, {"userProgress": {"userId": user}})


def test_requests_succeed_although_a_connection_in_the_pool_is_broken(
    post: Post, connection: database.Connection
) -> None:
    # A query may arrive before or after the function has noticed that its connections are closed.
    for _ in range(30):
        status, answer = post("{ streak { current } }")
        assert (status, answer["data"]) == (200, {"streak": {"current": 0}})
        assert connection.run(rows_by_hand.blocks()["hang up"])[0][0] > 0


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AUTH_AUDIENCE": ""}, "AUTH_AUDIENCE is missing"),
        ({"ENVIRONMENT": "production"}, "is for development: set a public https:// URL"),
        ({"AUTH_ISUER": "x"}, "unknown setting AUTH_ISUER"),
        ({"CORS_ORIGINS": "https://a.example/"}, "CORS_ORIGINS: expected origins such as"),
    ],
)
def test_the_function_does_not_start_with_an_invalid_setting(
    tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    good: dict[str, Any] = {
        "AUTH_ISSUER": token_issuer.NAME,
        "AUTH_AUDIENCE": token_issuer.AUDIENCE,
        "AUTH_JWKS_URL": "http://127.0.0.1:1/jwks.json",
        "ENVIRONMENT": "development",
    }
    with started(tmp_path, ports.reserve(), **{**good, **variables}) as process:
        assert process.wait(30) != 0
    assert says in (tmp_path / "output").read_text(encoding="utf-8")
