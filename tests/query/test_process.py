"""The query function as deployed: its database user, its readiness, and its limits of a head."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import repeat
from pathlib import Path
from typing import Any

import psutil
import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.local import ports, processes, readiness
from tests.conftest import Store
from tests.query.test_questions import learner_fields, question
from tests.support import api, rows_by_hand, token_issuer
from tests.support.api import Api, Body

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


@contextmanager
def serving(folder: Path, door: Path = DOOR, /, **variables: str) -> Iterator[int]:
    """Run the function during the block; yield its port once it listens."""
    port = ports.reserve()
    with started(folder, port, door, **variables):
        readiness.wait(lambda: ports.is_listening(port), "the query function")
        yield port


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
def port(store: Store, tmp_path: Path) -> Iterator[int]:
    """The port of a running query function with the privileges of its database user."""
    url = rows_by_hand.query_url(store.url)
    with token_issuer.serve() as issuer, serving(tmp_path, **issuer.environment(url)) as port:
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
    for name in learner_fields():
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


MIB = 1 << 20
POST = b"POST /graphql HTTP/1.1\r\nHost: here\r\n"
LINE = b"X-A: " + b"a" * 1_000 + b"\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n1\r\n{\r\n"

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "headers": (POST, LINE),
    "one header": (POST + b"X-A: ", b"a" * 1_000),
    "a name": (POST, b"a" * 1_000),
    "an address": (b"GET /graphql?query=", b"a" * 1_000),
    "trailers": (POST + CHUNKS + b"0\r\n", LINE),
    "a chunk's extension": (POST + CHUNKS + b"1;", b"a" * 1_000),
    "a second request's headers": (b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n" + POST, LINE),
}


def send(port: int, pieces: Iterator[bytes]) -> tuple[int, bytes]:
    """Send the pieces; return the number of bytes that were accepted, and the response."""
    sent, answer = 0, b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        with suppress(ConnectionError):
            for piece in pieces:
                wire.sendall(piece)
                sent += len(piece)
        with suppress(ConnectionError):
            while piece := wire.recv(65_536):
                answer += piece
    return sent, answer


def endless(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """Yield about 20 MiB of a request."""
    yield begin
    yield from repeat(64 * piece, 20 * MIB // (64 * len(piece)))


def peak_memory(port: int) -> int:
    """Return the peak memory of the processes that serve this port, in bytes."""
    held = [p for p in psutil.Process().children(recursive=True) if str(port) in p.cmdline()]
    kept = [Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in held]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in kept)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ENDLESS)
def test_the_query_function_does_not_read_an_endless_head(port: int, name: str) -> None:
    before = peak_memory(port)
    assert before
    sent, _ = send(port, endless(*ENDLESS[name]))
    assert sent < 10 * MIB  # `sent` also counts the bytes in the system's socket buffers
    assert peak_memory(port) - before < 3 * MIB


def test_the_query_function_rejects_a_large_head_with_431(port: int) -> None:
    for head in (POST + 100 * LINE, b"GET /graphql?query=" + 100_000 * b"a"):
        assert send(port, iter([head]))[1].startswith(b"HTTP/1.1 431 ")


def test_the_query_function_reads_a_head_of_60_kib(port: int) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: here\r\n" + 60 * LINE + b"Connection: close\r\n\r\n"
    for step in (100, 60_000, len(head)):
        pieces = (head[at : at + step] for at in range(0, len(head), step))
        assert send(port, pieces)[1].startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[int]:
    """The port of a query function that waits half a second for a head."""
    text = DOOR.read_text()
    assert "server.limit_heads()" in text
    source = tmp_path / "main.py"
    source.write_text(text.replace("server.limit_heads()", "server.limit_heads(timeout_s=0.5)"))
    with token_issuer.serve() as issuer:
        variables = issuer.environment("postgresql:///nowhere")
        with serving(tmp_path, source, **variables) as port:
            yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def read_until_closed(wire: socket.socket) -> bytes:
    answer = b""
    while piece := wire.recv(65_536):
        answer += piece
    return answer


def test_a_connection_without_a_complete_head_is_closed_at_the_deadline(hasty: int) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"
    with (
        closing(connect(hasty)) as silent,
        closing(connect(hasty)) as half,
        closing(connect(hasty)) as late,
        closing(connect(hasty)) as slow,
    ):
        half.sendall(POST)
        late.sendall(whole)
        assert late.recv(13) == b"HTTP/1.1 200 "
        late.sendall(POST)
        slow.sendall(POST + b"X-A: ")
        slow.settimeout(0.01)
        with suppress(ConnectionError):
            while True:
                slow.send(b"a")
                with suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert read_until_closed(silent) == read_until_closed(half) == b""
        assert b"HTTP" not in read_until_closed(late)
        assert fetch_json(hasty, "GET", "/health")[0] == 200


def test_the_deadline_of_a_head_does_not_limit_the_body(hasty: int) -> None:
    body = b'{"query": "{ __typename }"}'
    headers = api.headers("ann") | {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = POST + lines.encode() + b"\r\n"
    with closing(connect(hasty)) as late:
        late.sendall(head + body[:1])
        for _ in range(2):
            with closing(connect(hasty)) as silent:
                assert read_until_closed(silent) == b""  # after half a second
        late.sendall(body[1:])
        assert late.recv(13) == b"HTTP/1.1 200 "


DEAD = "redis://:secret@127.0.0.1:1"


def ready(query_api: Api) -> tuple[int, api.Body]:
    response = query_api.request("GET", "/ready")
    assert b"secret" not in response.body
    return response.status_code, api.read(response)


def test_an_instance_with_a_database_is_ready(query_api: Api, store: Store, valkey: str) -> None:
    assert ready(query_api) == (200, {"status": "ok", "database": "ok", "cache": "off"})
    with api.serve(store.url, redis_url=valkey) as cached:
        expected = {"status": "ok", "database": "ok", "cache": "ok"}
        readiness.wait(lambda: ready(cached) == (200, expected), "the cache")


def test_an_instance_stays_ready_if_redis_is_unreachable(store: Store) -> None:
    with api.serve(store.url, redis_url=DEAD) as uncached:
        assert ready(uncached) == (200, {"status": "ok", "database": "ok", "cache": "away"})
        assert uncached.data("{ streak { current } }") == {"streak": {"current": 0}}


def test_an_instance_without_a_database_is_not_ready(offline_api: Api) -> None:
    expected = {"status": "unavailable", "database": "away", "cache": "off"}
    assert ready(offline_api) == (503, expected)
