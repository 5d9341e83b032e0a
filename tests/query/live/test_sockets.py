"""Sockets of a query function that runs in a separate process, also with clients that misbehave."""

import contextlib
import json
import signal
import socket as stdlib_socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from progress.serve import ports, readiness
from tests.conftest import Store
from tests.support import api, function_process, node, subscription_client, token_issuer
from tests.support.http_client import fetch_json
from tests.support.socket_client import OpenSocket, RawSocket, Socket, frame
from tests.support.subscription_client import PROGRESS, STREAK, LessonRecorder, Serve, Subscribe

CURRENT = "{ streak { current } }"
TYPENAME = "{ __typename }"
# The largest query and the largest result that fit: aliases make both long.
_NAMES = " ".join(f"{3_500 * letter}: current" for letter in ascii_lowercase)
WIDE = f"{{ streak {{ {_NAMES} }} }}"
LIMIT = 100 * 1024  # bytes in a message


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("function") / "log"


@pytest.fixture(scope="module")
def port(database: str, log: Path) -> Iterator[int]:
    with subscription_client.query_function(
        database, log=log, CORS_ORIGINS="https://app.example.com"
    ) as function:
        yield function.port


def test_a_socket_runs_queries_mutations_and_subscriptions(
    port: int, open_socket: OpenSocket, recorder: LessonRecorder
) -> None:
    socket = open_socket(port, roles=["admin"])
    assert socket.connection.subprotocol == "graphql-transport-ws"
    socket.subscribe("live", PROGRESS)
    assert socket.next_value("live") is None
    socket.subscribe("once", CURRENT)
    assert socket.next_value("once") == {"current": 0}
    assert socket.receive() == {"id": "once", "type": "complete"}
    socket.subscribe("once", 'mutation { runBatch(idempotencyKey: "k") { id } }')
    operation = socket.next_value("once")["id"]
    assert socket.receive() == {"id": "once", "type": "complete"}
    recorder.add_lesson()
    assert socket.next_value("live") == {"totalSessionsCompleted": 1, "currentStreak": 0}
    query = "subscription($id: ID!) { operationUpdated(id: $id) { state } }"
    socket.subscribe("batch", query, id=operation)
    assert socket.next_value("batch") == {"state": "PENDING"}


def test_a_message_is_not_compressed(port: int, open_socket: OpenSocket) -> None:
    socket = open_socket(port)
    request, response = socket.connection.request, socket.connection.response
    assert request
    assert response
    assert "permessage-deflate" in request.headers["sec-websocket-extensions"]
    assert "sec-websocket-extensions" not in response.headers


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_ping_is_answered_with_its_payload(port: int, open_socket: OpenSocket, when: str) -> None:
    socket = open_socket(port, user="ann" if when == "after" else None)
    socket.send("pong", payload={"un": "solicited"})
    for members in ({}, {"payload": {"at": 1}}):
        socket.send("ping", **members)
        assert socket.receive() == {"type": "pong", **members}


def test_a_completed_subscription_sends_nothing_more_and_frees_its_id(
    port: int, open_socket: OpenSocket, recorder: LessonRecorder
) -> None:
    socket, other = open_socket(port, "cyd"), open_socket(port, "cyd")
    socket.send("complete", id="unknown")
    socket.subscribe("a", PROGRESS)
    assert socket.next_value("a") is None
    socket.send("complete", id="a")
    other.subscribe("b", PROGRESS)
    assert other.next_value("b") is None
    recorder.add_lesson("cyd")
    assert other.next_value("b")["totalSessionsCompleted"] == 1
    socket.subscribe("a", STREAK)
    assert socket.next_value("a") == {"current": 0, "lastStudyDate": "2024-04-01"}


FORBIDDEN = '{ streak(userId: "bob") { current } }'
SAME_AS_OVER_HTTP = {
    "a query": {"query": CURRENT},
    "variables": {"query": "query($n: Int) { itemStats(first: $n) { totalCount } }"}
    | {"variables": {"n": 5}},
    "an operation's name": {"query": f"query A {CURRENT} query B {TYPENAME}"}
    | {"operationName": "B"},
    "an error and data": {"query": "{ streak { current } itemStats(first: 500) { totalCount } }"},
    "forbidden data": {"query": FORBIDDEN},
    "a syntax error": {"query": "{ streak {"},
    "a document's hash": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "f00"}}},
}


@pytest.mark.parametrize("name", SAME_AS_OVER_HTTP)
def test_an_answer_is_the_same_as_over_http(port: int, open_socket: OpenSocket, name: str) -> None:
    payload = SAME_AS_OVER_HTTP[name]
    _, expected = fetch_json(port, "POST", "/graphql", payload, **api.headers("eli"))
    socket = open_socket(port, "eli")
    socket.send("subscribe", id="1", payload=payload)
    message = socket.receive()
    if "data" in expected:
        assert (message["type"], socket.receive()["type"]) == ("next", "complete")
        expected.pop("extensions", None)
        message["payload"].pop("extensions", None)
        assert message["payload"] == expected
    else:
        assert message == {"id": "1", "type": "error", "payload": expected["errors"]}


def test_a_socket_is_closed_when_its_token_expires(port: int, open_socket: OpenSocket) -> None:
    for life in (3, 9, 27):  # on a busy machine, a token may expire before the first value
        socket = open_socket(port, "fay", exp=time.time() + life)
        with contextlib.suppress(ConnectionClosed):
            socket.subscribe("1", PROGRESS)
            assert socket.next_value("1") is None
            break
    assert socket.read_to_end() == (4403, "the token has expired: connect with a new one")


def test_the_token_may_be_in_the_header_of_a_client_that_is_no_browser(
    port: int, open_socket: OpenSocket
) -> None:
    headers = {"authorization": f"Bearer {token_issuer.token('gil')}"}
    socket = open_socket(port, None, headers=headers)
    socket.send("connection_init")
    socket.subscribe("1", CURRENT)
    assert socket.next_value("1") == {"current": 0}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"origin": "https://evil.example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"path": "/graphql/stream"}, 404),
        ({"path": "/"}, 404),
        ({"headers": {"x-long": "y" * 9_000}}, 431),
        ({"headers": {f"x-{n}": "y" for n in range(200)}}, 431),
    ],
    ids=["another origin", "an unknown origin", "a stream's path", "a page", "long", "many"],
)
def test_a_request_is_refused_before_the_socket_opens(
    port: int, open_socket: OpenSocket, options: dict[str, Any], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket(port, **options)
    assert refused.value.response.status_code == status


def test_pages_of_this_host_and_of_allowed_origins_may_open_sockets(
    port: int, open_socket: OpenSocket
) -> None:
    for origin in ("https://app.example.com", f"http://{ports.HOST}:{port}"):
        socket = open_socket(port, origin=origin)
        socket.subscribe("1", CURRENT)
        assert socket.next_value("1") == {"current": 0}


def raw(*frames: bytes) -> Callable[[Socket], None]:
    return lambda socket: socket.connection.socket.sendall(b"".join(frames))


def nothing(_: Socket) -> None:
    pass


def text(message: str | bytes) -> Callable[[Socket], None]:
    return lambda socket: socket.connection.send(message)


def subscribe_twice(socket: Socket, id_: str = "1") -> None:
    for _ in range(2):
        socket.subscribe(id_, PROGRESS)


BAD = 4400, "expected a message of graphql-transport-ws: "
NO_INIT: dict[str, Any] = {"user": None}
# What a client does wrong: how it opens the socket, what it sends, and how the server closes it.
MISTAKES: dict[str, tuple[dict[str, Any], Callable[[Socket], None], tuple[int, str]]] = {
    "no sub-protocol": (
        {"protocol": None, **NO_INIT}, nothing, (4406, "expected the sub-protocol")
    ),
    "the older sub-protocol": (
        {"protocol": "graphql-ws", **NO_INIT}, nothing, (4406, "expected the sub-protocol")
    ),
    "subscribe before connection_init": (
        NO_INIT, lambda socket: socket.subscribe("1", PROGRESS), (4401, "expected connection_init")
    ),
    "two connection_inits": (
        {}, lambda socket: socket.send("connection_init"), (4429, "expected one connection_init")
    ),
    "no token": (
        NO_INIT, lambda socket: socket.send("connection_init"), (4403, "a token is missing")
    ),
    "a bad token": ({"token": "x.y.z"}, nothing, (4403, "bad token: ")),
    "an expired token": ({"exp": 1_000_000_000}, nothing, (4403, "bad token: ")),
    "the same id twice": ({}, subscribe_twice, (4409, "Subscriber for 1 already exists")),
    "a long id twice": (
        {},
        lambda socket: subscribe_twice(socket, "é" * 999),
        (4409, "Subscriber for éé"),
    ),
    "a binary message": ({}, text(b'{"type":"ping"}'), (4400, "expected a text message")),
    "no JSON": ({}, text("{"), BAD),
    "a deep list": ({}, text("[" * 90_000), BAD),
    "a deep payload": ({}, text('{"type":"ping","payload":' + '{"a":' * 9_000), BAD),
    "a lone surrogate": ({}, text('{"type":"complete","id":"\\ud800"}'), BAD),
    "an unknown type": ({}, text('{"type":"start"}'), BAD),
    "no id": ({}, text('{"type":"subscribe","payload":{"query":""}}'), BAD),
    "an id that is a list": ({}, text('{"type":"complete","id":[1]}'), BAD),
    "no payload": ({}, text('{"type":"subscribe","id":"1"}'), BAD),
    "variables that are a list": (
        {}, text('{"type":"subscribe","id":"1","payload":{"query":"","variables":[]}}'), BAD
    ),
    "a message over the limit": ({}, text(" " * (LIMIT + 1)), (1009, "")),
    "a frame of 10 MB": ({}, raw(frame(b"", length=10_000_000)), (1009, "")),
    "a frame of 2^63 - 1 bytes": ({}, raw(frame(b"", length=2**63 - 1)), (1009, "")),
    "fragments over the limit": (
        {}, raw(frame(b" " * LIMIT, final=False), frame(b" ", 0)), (1009, "")
    ),
    "endless fragments": (
        {}, raw(frame(b" ", final=False), *(frame(b"", 0, final=False),) * 1_000), (1009, "")
    ),
    "bytes that are no UTF-8": ({}, raw(frame(b"\xff\xfe")), (1007, "")),
    "a fragment of no message": ({}, raw(frame(b"", 0)), (1002, "")),
    "a message inside a message": ({}, raw(frame(b"", final=False), frame(b"")), (1002, "")),
    "an unknown frame": ({}, raw(frame(b"", 5)), (1002, "")),
    "a compressed frame": ({}, raw(b"\xc1\x80" + bytes(4)), (1002, "")),
    "a frame without a mask": ({}, raw(b"\x81\x00"), (1002, "")),
    "a long ping": ({}, raw(frame(bytes(126), 9)), (1002, "")),
    "many pongs": ({}, raw(frame(b"", 10) * 4_000), (1008, "over 100 control frames")),
    "pings before connection_init": (NO_INIT, raw(frame(b"", 9) * 4_000), (1008, "over 100 co")),
    "more bytes than a head before connection_init": (
        NO_INIT, raw(frame(b" ", length=90_000), bytes(70_000)), (1008, "over 65536 bytes, no ")
    ),
    "messages that go on": (
        {}, raw(frame(b'{"type":"complete","id":"x"}') * 5_000), (4429, "over 100 messages a sec")
    ),
    "a flood after the end": ({}, raw(frame(b"\xff"), *[frame(b"{}")] * 50_000), (1007, "")),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_client_s_mistake_closes_only_its_socket(
    port: int, open_socket: OpenSocket, log: Path, name: str
) -> None:
    options, mistake, (code, reason) = MISTAKES[name]
    other = open_socket(port, "ivy")
    other.subscribe("1", STREAK)
    assert other.next_value("1")
    socket = open_socket(port, **{"user": "hal", **options})
    mistake(socket)
    closed = socket.read_to_end()
    assert closed[0] == code
    assert closed[1].startswith(reason)
    assert len(closed[1].encode()) <= 123
    other.subscribe("2", CURRENT)
    assert other.next_value("2") == {"current": 0}
    output = log.read_text(encoding="utf-8")
    assert "Traceback" not in output
    assert '"ERROR"' not in output


def test_pings_keep_no_socket_open(serve: Serve, open_socket: OpenSocket, tmp_path: Path) -> None:
    with serve(limits="init=0.1", log=tmp_path / "log") as function:
        for begin in (nothing, lambda socket: socket.send("ping")):
            socket = open_socket(function.port, **NO_INIT)
            with contextlib.suppress(ConnectionClosed):  # by now, on a busy machine
                begin(socket)
            code, reason = socket.read_to_end()
            assert (code, reason[:24]) == (4408, "expected connection_init")
    assert '"ERROR"' not in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_message_may_come_in_fragments_with_a_ping_between_them(
    port: int, open_socket: OpenSocket
) -> None:
    socket = open_socket(port)
    message = json.dumps({"type": "subscribe", "id": "é", "payload": {"query": CURRENT}}).encode()
    first, *others = (frame(bytes([byte]), 0, final=False) for byte in message)
    frames = [b"\x01" + first[1:], *others, frame(b"", 0)]
    for piece in (frames[0], frame(b"ping", 9), b"".join(frames[1:])):
        socket.connection.socket.sendall(piece)
    assert socket.next_value("é") == {"current": 0}


def test_a_message_of_100_kib_is_accepted(port: int, open_socket: OpenSocket) -> None:
    socket = open_socket(port)
    message = json.dumps({"type": "subscribe", "id": "1", "payload": {"query": CURRENT}})
    socket.connection.send(message.ljust(LIMIT))
    assert socket.next_value("1") == {"current": 0}


def test_a_flood_of_operations_is_answered_one_by_one(port: int, open_socket: OpenSocket) -> None:
    socket = open_socket(port, "jim")
    ids = [f"{n}" for n in range(300)]
    for id_ in ids:
        socket.subscribe(id_, CURRENT)
    messages = [socket.receive() for _ in range(2 * len(ids))]
    assert {m["id"] for m in messages if m["type"] == "next"} == {*ids}
    assert {m["id"] for m in messages if m["type"] == "complete"} == {*ids}


def test_a_caller_has_at_most_thirty_subscriptions(
    port: int, open_socket: OpenSocket, subscribe: Subscribe
) -> None:
    stream = subscribe(port, STREAK, "kim")
    assert stream.next_value()
    first, second = open_socket(port, "kim"), open_socket(port, "kim")
    for n in range(29):
        first.subscribe(f"{n}", STREAK)
        assert first.next_value(f"{n}")
    for n in range(100):
        second.subscribe(f"{n}", STREAK)
        assert second.next_code(f"{n}") == "RATE_LIMITED"
    refused = subscribe(port, STREAK, "kim")
    assert (refused.status, refused.response.headers["retry-after"]) == (429, "5")
    second.subscribe("query", CURRENT)
    assert second.next_value("query")
    assert second.receive()["type"] == "complete"
    first.send("complete", id="0")
    first.subscribe("0", STREAK)  # only after this the server has read `complete`
    assert first.next_value("0")
    # A client may replace its subscriptions faster than the server opens them.
    ids = ["0", *(f"replacement {n}" for n in range(15))]
    for old, new in pairwise(ids):
        first.send("complete", id=old)
        first.subscribe(new, STREAK)
    while (message := first.receive())["id"] != ids[-1]:
        assert message["type"] == "next"
    assert message["type"] == "next"
    second.subscribe("x", STREAK)
    assert second.next_code("x") == "RATE_LIMITED"
    first.close()

    def is_free() -> bool:
        second.subscribe("x", STREAK)
        return bool(second.receive()["type"] == "next")

    readiness.wait(is_free, "the end of the first socket's subscriptions")


def test_a_caller_has_at_most_ten_sockets(port: int, open_socket: OpenSocket) -> None:
    sockets = [open_socket(port, "lee") for _ in range(10)]
    for socket in sockets:
        socket.subscribe("1", CURRENT)
        assert socket.next_value("1")
    refused = open_socket(port, "lee").read_to_end()
    assert refused == (4429, "10 sockets are open: close one of them")
    other = open_socket(port, "bob")
    other.subscribe("1", CURRENT)
    assert other.next_value("1")
    sockets[0].close()

    def is_accepted() -> bool:
        socket = open_socket(port, "lee")
        try:
            socket.send("ping")
            return socket.receive() == {"type": "pong"}
        except ConnectionClosed:
            return False

    readiness.wait(is_accepted, "a place for another socket")


def test_an_instance_limits_its_sockets_and_streams(
    serve: Serve, open_socket: OpenSocket, subscribe: Subscribe
) -> None:
    with serve(limits="per_instance=2") as function:
        assert subscribe(function.port, PROGRESS).next_value() is None
        socket = open_socket(function.port, "bob")
        code, _ = open_socket(function.port, "cat").read_to_end()
        assert code == 1013
        assert subscribe(function.port, PROGRESS, "cat").status == 503
        socket.close()
        readiness.wait(
            lambda: subscribe(function.port, PROGRESS, "cat").status == 200, "a free place"
        )


def test_sockets_without_a_token_leave_the_places_of_callers(
    serve: Serve, open_socket: OpenSocket
) -> None:
    """A proxy adds the client's address to the header; the entries before it are the client's."""
    limits = "per_instance=2, strangers=3, strangers_per_address=2, init=600"

    def open_from(address: str, user: str | None = None) -> Socket:
        headers = {"X-Forwarded-For": f"192.0.2.9, {address}"}
        return open_socket(port, user, headers=headers)

    def status_from(address: str) -> int:
        with pytest.raises(InvalidStatus) as refused:
            open_from(address)
        return refused.value.response.status_code

    with serve(limits=limits, TRUSTED_PROXIES="1") as function:
        port = function.port
        first, _ = (open_from("192.0.2.1") for _ in range(2))
        assert status_from("192.0.2.1") == 429
        for user in ("ann", "bob"):
            caller = open_from("192.0.2.2", user)
            caller.subscribe("1", CURRENT)
            assert caller.next_value("1")
        open_from("192.0.2.2")
        assert status_from("192.0.2.3") == 503
        first.init(token_issuer.token("cat"))  # leaves its place; there is none for a third caller
        assert first.read_to_end()[0] == 1013
        open_from("192.0.2.1")


def test_operations_on_a_socket_count_against_the_rate_limit(
    serve: Serve, open_socket: OpenSocket
) -> None:
    with serve(RATE_LIMIT_PER_MINUTE="3") as function:
        socket = open_socket(function.port)
        types = []
        for n in range(8):  # at most one new minute begins, and with it a new count
            socket.subscribe(f"{n}", (TYPENAME, STREAK, CURRENT)[n % 3])
            types.append(message := socket.receive())
            if message["type"] == "next" and n % 3 != 1:
                assert socket.receive()["type"] == "complete"
        errors = [m["payload"][0]["extensions"]["code"] for m in types if m["type"] == "error"]
        assert {*errors} == {"RATE_LIMITED"}
        assert [m["type"] for m in types[:3]] == ["next"] * 3


@pytest.mark.exhaustive
def test_each_operation_writes_a_log_line_in_the_trace_of_the_socket_s_request(
    serve: Serve, open_socket: OpenSocket, tmp_path: Path
) -> None:
    trace, log = "ab" * 16, tmp_path / "log"
    with serve(log=log) as function:
        socket = open_socket(function.port, headers={"traceparent": f"00-{trace}-{'cd' * 8}-01"})
        socket.subscribe("q", CURRENT)
        assert socket.next_value("q")
        assert socket.receive()["type"] == "complete"
        socket.subscribe("s", STREAK)
        assert socket.next_value("s")
        socket.subscribe("m", 'mutation { runBatch(idempotencyKey: "k") { id } }')
        assert socket.receive()["payload"]["errors"]
    text = log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["message"] == "answered"]
    assert [line["operation"] for line in answered] == ["query", "stream", "mutation"]
    assert {line["outcome"] for line in answered} == {"ok"}
    assert all(trace in line["logging.googleapis.com/trace"] for line in answered)


@pytest.mark.exhaustive
def test_a_browser_s_no_cache_is_not_for_the_operations(
    serve: Serve, store: Store, valkey: str, open_socket: OpenSocket
) -> None:
    with closing(LessonRecorder(store.url)) as recorder:
        recorder.add_lesson()  # a learner without events has no version, and is not cached
    with serve(REDIS_URL=valkey) as function:
        # Browsers open every socket with this header.
        socket = open_socket(function.port, headers={"cache-control": "no-cache"})

        def is_hit() -> bool:
            socket.subscribe("1", CURRENT)
            cache = socket.receive()["payload"]["extensions"]["cache"]
            assert socket.receive()["type"] == "complete"
            return bool(cache == "HIT")

        readiness.wait(is_hit, "a cache hit")


def flood_with_queries(client: RawSocket) -> None:
    for n in range(700):
        client.send({"type": "subscribe", "id": f"{n}", "payload": {"query": WIDE}})


@pytest.mark.exhaustive
def test_a_client_that_does_not_read_is_disconnected(serve: Serve) -> None:
    with serve(server="stall_s=0.5") as function, closing(RawSocket(function.port)) as client:
        with contextlib.suppress(ConnectionError, TimeoutError):
            flood_with_queries(client)
        readiness.wait(lambda: function.count_clients() == 0, "the end of the connection")


@pytest.mark.exhaustive
def test_a_client_that_does_not_read_takes_little_memory(serve: Serve) -> None:
    with serve(server="stall_s=3_600") as function, closing(RawSocket(function.port)) as client:
        worker = function.worker()
        before = worker.memory_info().rss
        client.connection.settimeout(2)
        # The server reads no more before it can write; on a slow machine, it has waited already.
        with contextlib.suppress(TimeoutError, ConnectionError):
            flood_with_queries(client)
        assert worker.memory_info().rss - before < 40_000_000


@pytest.mark.exhaustive
def test_a_client_that_answers_no_ping_is_disconnected(serve: Serve) -> None:
    with serve(server="ping_s=0.2") as function, closing(RawSocket(function.port)) as client:
        client.send({"type": "subscribe", "id": "1", "payload": {"query": STREAK}})
        received = b""
        while part := client.connection.recv(1_000):
            received += part
        assert b'"id":"1","type":"next"' in received
        assert received.endswith(b"\x88\x18\x03\xf3keepalive ping timeout")  # 1011


@pytest.mark.exhaustive
def test_a_socket_stays_open_although_no_head_of_a_request_follows(
    serve: Serve, open_socket: OpenSocket
) -> None:
    with serve(server="timeout_s=0.2") as function:
        socket = open_socket(function.port)
        socket.send("ping")
        assert socket.receive() == {"type": "pong"}
        with stdlib_socket.create_connection((ports.HOST, function.port), timeout=20) as silent:
            assert silent.recv(1) == b""  # after 0.2 s
        socket.send("ping")
        assert socket.receive() == {"type": "pong"}


def test_shutdown_closes_all_sockets_although_a_client_does_not_read(
    serve: Serve, open_socket: OpenSocket
) -> None:
    # The server waits so long for a client: here, from the full buffer on, and again at the end.
    with serve(server="stall_s=5") as function, closing(RawSocket(function.port, "bob")) as idle:
        sockets = [open_socket(function.port) for _ in range(3)]
        for socket in sockets:
            socket.subscribe("1", STREAK)
            assert socket.next_value("1")
        idle.connection.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            flood_with_queries(idle)
        function.process.send_signal(signal.SIGTERM)
        for socket in sockets:
            # No `complete` before the close frame: a client then would not subscribe again.
            with pytest.raises(ConnectionClosed) as closed:
                socket.receive()
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1012
        assert function.process.wait(60) == 0


def test_the_first_request_of_an_instance_may_open_a_socket(
    store: Store, open_socket: OpenSocket
) -> None:
    with (
        token_issuer.serve() as issuer,
        function_process.run("query", issuer.environment(store.url), waits=False) as function,
    ):
        port = function.port
        readiness.wait(lambda: ports.is_listening(port), "the query function")
        socket = open_socket(port)
        socket.subscribe("1", CURRENT)
        assert socket.next_value("1") == {"current": 0}
        assert socket.receive()["type"] == "complete"
        assert fetch_json(port, "GET", "/health")[0] == 200


@pytest.fixture
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return node.workshop(request, tmp_path)


def read_counts(lines: Iterator[str], user: str, recorder: LessonRecorder) -> None:
    """Check what sockets.mjs prints: a query's result, then the number of sessions."""
    assert json.loads(next(lines))["data"]["streak"]["current"] == 0
    assert json.loads(next(lines))["data"]["progressUpdated"] is None
    recorder.add_lesson(user)
    assert read_count(lines) == 1


def read_count(lines: Iterator[str]) -> int:
    result = json.loads(next(lines))
    count: int = result["data"]["progressUpdated"]["totalSessionsCompleted"]
    return count


@pytest.mark.exhaustive
@pytest.mark.parametrize("client", ["graphql-ws", "apollo"])
def test_a_public_client_receives_changes_also_after_its_token_has_expired(
    port: int, recorder: LessonRecorder, clients: Path, client: str
) -> None:
    user = f"user of {client}"
    end = time.time() + 6
    tokens = token_issuer.token(user, exp=end), token_issuer.token(user)
    variables = {"URL": f"http://{ports.HOST}:{port}/graphql", "TOKENS": " ".join(tokens)}
    with node.lines(clients, "node", "sockets.mjs", client, **variables) as lines:
        read_counts(lines, user, recorder)
        reason = "the token has expired: connect with a new one"
        assert json.loads(next(lines)) == {"closed": 4403, "reason": reason}
        assert time.time() >= end
        recorder.add_lesson(user)
        while read_count(lines) < 2:
            pass


@pytest.mark.exhaustive
def test_a_public_client_connects_to_the_next_instance_when_one_shuts_down(
    serve: Serve, store: Store, clients: Path
) -> None:
    port = ports.reserve()
    with closing(LessonRecorder(store.url)) as recorder, ExitStack() as stack:
        function = stack.enter_context(serve(port=port))
        variables = {"URL": f"http://{ports.HOST}:{port}/graphql", "TOKENS": token_issuer.token()}
        lines = stack.enter_context(
            node.lines(clients, "node", "sockets.mjs", "graphql-ws", **variables)
        )
        read_counts(lines, "ann", recorder)
        function.process.send_signal(signal.SIGTERM)
        assert json.loads(next(lines))["closed"] == 1012
        assert function.process.wait(60) == 0
        recorder.add_lesson()
        stack.enter_context(serve(port=port))
        while "closed" in (result := json.loads(next(lines))):
            pass  # nothing listens at the port yet
        assert result["data"]["progressUpdated"] == {"totalSessionsCompleted": 2}
