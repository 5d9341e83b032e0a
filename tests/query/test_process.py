"""The query function as deployed: its user, readiness and heads; malformed and unusual requests."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPResponse
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.serve import ports
from tests.conftest import Store
from tests.support import api, function_process, token_issuer
from tests.support.api import Api
from tests.support.function_process import FunctionProcess
from tests.support.http_client import fetch_json
from tests.support.subscription_client import query_function


@pytest.fixture
def port(query_process: FunctionProcess) -> int:
    ready = {"status": "ok", "database": "ok", "cache": "off"}
    assert fetch_json(query_process.port, "GET", "/ready") == (200, ready)
    return query_process.port


@pytest.mark.first_in_gate
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
    good = {
        "AUTH_ISSUER": token_issuer.NAME,
        "AUTH_AUDIENCE": token_issuer.AUDIENCE,
        "AUTH_JWKS_URL": "http://127.0.0.1:1/jwks.json",
        "ENVIRONMENT": "development",
    }
    log = tmp_path / "log"
    with function_process.run("query", {**good, **variables}, log=log, waits=False) as function:
        assert function.process.wait(30) != 0
    assert says in log.read_text(encoding="utf-8")


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
    sent = 0
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as wire:
        with suppress(ConnectionError):
            for piece in pieces:
                wire.sendall(piece)
                sent += len(piece)
        return sent, read_until_closed(wire)


def read_until_closed(wire: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        while piece := wire.recv(65_536):
            answer += piece
    return answer


def endless(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """Yield about 20 MiB of a request."""
    yield begin
    yield from repeat(64 * piece, 20 * MIB // (64 * len(piece)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ENDLESS)
def test_the_query_function_does_not_read_an_endless_head(
    query_process: FunctionProcess, port: int, name: str
) -> None:
    before = query_process.peak_memory()
    sent, _ = send(port, endless(*ENDLESS[name]))
    assert sent < 10 * MIB  # `sent` also counts the bytes in the system's socket buffers
    assert query_process.peak_memory() - before < 3 * MIB


def test_what_the_server_rejects_by_itself_is_answered_in_our_form(port: int) -> None:
    post = b"POST /events HTTP/1.1\r\nHost: here\r\n"
    length = b"Content-Length: 1\r\n"
    address = b"GET /graphql?query="
    whole = address + 66_000 * b"a" + b" HTTP/1.1\r\nHost: here\r\n\r\n"
    line = post + b"X: " + 70_000 * b"a" + b"\r\n\r\n"
    large = (post + 100 * LINE, address + 100_000 * b"a", whole, line)
    for request in (*large, post + length * 2 + b"\r\n", b"faulty\r\n\r\n"):
        head, _, body = send(port, iter([request]))[1].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 " if request in large else b"HTTP/1.1 400 ")
        assert {b"progress-error: 1", b"content-length: %d" % len(body)} <= {*head.split(b"\r\n")}
        assert json.loads(body)["error"]
    for request in (line, post + 100 * LINE):  # its response would be taken for that to the first
        first = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"
        assert not send(port, iter([first + request]))[1].startswith(b"HTTP/1.1 431 ")


def test_a_get_may_have_a_head_of_64_kib_in_parts_of_any_size(port: int) -> None:
    token = api.headers()["authorization"].encode()
    begin = b"GET /graphql?query={__typename}%23"
    end = b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: " + token + b"\r\n\r\n"
    longest = begin + b"a" * (64 * 1_024 - len(begin + end)) + end
    for step in (100, 60_000, len(longest)):
        pieces = (longest[at : at + step] for at in range(0, len(longest), step))
        assert send(port, pieces)[1].startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def hasty() -> Iterator[int]:
    """The port of a query function that waits two seconds for a head."""
    with query_function(api.NOWHERE, server="timeout_s=2") as function:
        yield function.port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


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
                assert read_until_closed(silent) == b""  # after two seconds
        late.sendall(body[1:])
        assert late.recv(13) == b"HTTP/1.1 200 "


DEAD = "redis://:secret@127.0.0.1:1"


def ready(query_api: Api) -> tuple[int, api.Body]:
    response = query_api.request("GET", "/ready")
    assert b"secret" not in response.body
    return response.status_code, api.read(response)


def test_an_instance_stays_ready_if_redis_is_unreachable(store: Store) -> None:
    with api.serve(store.url, redis_url=DEAD) as uncached:
        assert ready(uncached) == (200, {"status": "ok", "database": "ok", "cache": "away"})
        assert uncached.data("{ streak { current } }") == {"streak": {"current": 0}}


def test_an_instance_without_a_database_is_not_ready(offline_api: Api) -> None:
    expected = {"status": "unavailable", "database": "away", "cache": "off"}
    assert ready(offline_api) == (503, expected)


TYPE = b'{"query": "{ __typename }"}'
SECONDS = 15


tokens = st.sampled_from(["Bearer ", "Bearer x.y.z", "Basic YTpi"]) | st.builds(
    lambda: api.headers()["authorization"]
)
text = st.text(st.characters(max_codepoint=255), max_size=40)
headers = st.fixed_dictionaries(
    {"authorization": tokens, "content-type": st.just("application/json") | text},
    optional={
        name: text | st.sampled_from(values)
        for name, values in {
            "accept": ["*/*", "application/json;q=x", "a;q=1;q=0,,;", "application/json; q=0.5"],
            "if-none-match": ["*", 'W/"', ",,,"],
            "content-length": ["-1", "0", "9" * 30, "1e3", "x"],
            "origin": ["null", "https://x"],
            "traceparent": ["00-" + "0" * 32, "-" * 60],
            "x-cloud-trace-context": ["0" * 32 + "/1;o=1", "z" * 32],
            "cache-control": ["no-cache", "max-age=x"],
        }.items()
    },
)
queries = (
    st.sampled_from(["", "query={", "query=%ff%fe", "query=%00", "&&==&", "query"])
    | st.just("query={__typename}&variables=[1]")
    | text
)
paths = st.sampled_from(["/graphql", "/graphql/stream", "/health", "/ready", "/page/x", "/", "//"])
DEEP = [b"[" * 90_000, b'{"query":' * 9_000, b'{"query": "' + b"{a" * 40_000 + b'"}']
bodies = st.binary(max_size=200) | st.sampled_from([TYPE, *DEEP, b'"\\ud800"'])


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "x"]),
    address=st.tuples(paths, queries).map("?".join),
    named=headers,
    parts=st.lists(bodies, max_size=3),
)
def test_unusual_requests_do_not_cause_internal_errors(
    offline_api: Api, method: str, address: str, named: dict[str, str], parts: list[bytes]
) -> None:
    response = offline_api.request(method, address, [*parts, api.END], named)
    assert response.status_code < (504 if address.startswith("/ready") else 500)


@pytest.fixture(scope="module")
def offline_port() -> Iterator[int]:
    with query_function(api.NOWHERE) as function:
        yield function.port


# A placeholder. Tokens expire, so a token is inserted only when the request is sent.
_GOOD = "a good token's"


def head(request: str = "POST /graphql", **more: str) -> bytes:
    headers = {**api.headers(), "authorization": _GOOD, "host": "x", "connection": "close", **more}
    lines = [f"{request} HTTP/1.1", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunks(size: int) -> bytes:
    part = b"%x\r\n" % 4_096 + b" " * 4_096 + b"\r\n"
    return part * (size // 4_096) + b"0\r\n\r\n"


def whole(body: bytes) -> bytes:
    return head(content_length=str(len(body))) + body


ENDED = None  # the server closed the connection before it read the whole request
WIRE: dict[str, tuple[bytes, set[int | None]]] = {
    "no HTTP": (b"\x00\xff\x16\x03\x01" * 100 + b"\r\n\r\n", {400, ENDED}),
    "15,000 parameters": (head("GET /graphql?" + "a=b&" * 15_000), {400}),
    "a long body in parts": (head(transfer_encoding="chunked") + chunks(1 << 20), {413}),
    "not a number": (whole(TYPE[:-1] + b', "variables": {"a": NaN}}'), {400}),
    "a number beyond float64": (whole(TYPE[:-1] + b', "variables": {"a": 1e999}}'), {400}),
    "5,000 digits": (whole(TYPE[:-1] + b', "variables": {"a": %s}}' % (b"9" * 5_000)), {400}),
}


@pytest.mark.parametrize("name", WIRE)
def test_the_server_still_responds_after_a_malformed_request(offline_port: int, name: str) -> None:
    template, expected = WIRE[name]
    sent = template.replace(_GOOD.encode(), api.headers()["authorization"].encode())
    assert status(offline_port, sent) in expected
    assert fetch_json(offline_port, "GET", "/health")[0] == 200


def status(offline_port: int, sent: bytes) -> int | None:
    _, answer = send(offline_port, iter([sent]))
    return int(answer.split(b" ", 2)[1]) if answer else None


def test_bodies_that_never_end_take_bounded_memory(offline_port: int) -> None:
    ann, ben = (api.headers(name)["authorization"].encode() for name in ("ann", "ben"))
    endless = whole(b" " * 100_000)[:-1].replace(_GOOD.encode(), ann)
    with ExitStack() as stack:
        for _ in range((32 << 20) // 100_000 + 2):
            address = ports.HOST, offline_port
            last = stack.enter_context(socket.create_connection(address, timeout=SECONDS))
            last.sendall(endless)
        refused = HTTPResponse(last)
        refused.begin()
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert refused.read()
        assert last.recv(1) == b""
        assert status(offline_port, whole(TYPE).replace(_GOOD.encode(), ben)) == 200


def test_the_api_answers_paths_that_the_framework_would_answer(offline_port: int) -> None:
    """The server calls the API itself, because the framework's routes take time."""
    error = {"error": "there is nothing at this path: use /graphql"}
    for path in ("/robots.txt", "/favicon.ico"):
        assert fetch_json(offline_port, "GET", path) == (404, error)


def test_a_connection_on_which_too_many_requests_wait_is_closed(offline_port: int) -> None:
    """Each waiting request takes memory, also if its client does not read the answers."""
    with connect(offline_port) as wire:
        with suppress(ConnectionError):
            wire.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n" * 1_000)
        answers = read_until_closed(wire)
    assert answers.count(b"HTTP/1.1 ") <= 101


def test_several_requests_can_share_a_connection(offline_port: int) -> None:
    connection = HTTPConnection(ports.HOST, offline_port, timeout=SECONDS)

    def send(method: str, path: str, body: Any = None, **more: str) -> tuple[int, bytes]:
        connection.request(method, path, body, {**api.headers(), **more})
        answer = connection.getresponse()
        received.update(answer.headers)
        return answer.status, answer.read()

    received: dict[str, str] = {}
    target = "/graphql?query={__typename}"
    for _ in range(2):
        status, data = send("GET", target)
        assert (status, b'"__typename":"Query"' in data) == (200, True)
        assert send("GET", target, None, **{"if-none-match": received["etag"]}) == (304, b"")
        assert send("HEAD", target) == (200, b"")
        assert send("OPTIONS", "/graphql") == (204, b"")
        assert send("POST", "/graphql", b" " * (1 << 20))[0] == 413
        assert send("POST", "/graphql", iter([TYPE] * 3))[0] == 400  # in parts
        assert send("POST", "/graphql", TYPE)[0] == 200
    connection.close()


OFFERS = (
    *("h2c", "foo/1", "h2c, websocket", "websocket", "TLS/1.0"),
    "foo/1\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
)


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("is_whole", [True, False], ids=["at once", "byte by byte"])
def test_an_offered_protocol_is_ignored(offline_port: int, offer: str, is_whole: bool) -> None:
    """RFC 9110, section 7.8. The connection stays open, and later requests are read as usual."""
    offered = {"upgrade": offer, "connection": "Upgrade, HTTP2-Settings"}
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TYPE), TYPE)
    requests = [
        head(content_length=str(len(TYPE)), **offered) + TYPE,
        head(transfer_encoding="chunked", **offered) + chunked,
        head(content_length=str(len(TYPE)), expect="100-continue", **offered) + TYPE,
        head("HEAD /health", **offered | {"upgrade": offer.replace("websocket", "h2c")}),
        head(content_length=str(len(TYPE))) + TYPE,  # with `Connection: close`
    ]
    sent = b"".join(requests).replace(_GOOD.encode(), api.headers()["authorization"].encode())
    parts = [sent] if is_whole else (sent[n : n + 1] for n in range(len(sent)))
    _, answered = send(offline_port, iter(parts))
    statuses = re.findall(rb"HTTP/1.1 (\d+)", answered)
    assert statuses == [*[b"200"] * 2, b"100", *[b"200"] * 3]
    assert answered.count(b'{"__typename":"Query"}') == 4
