"""Request heads that arrive slowly, or never completely, do not keep a function from responding."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection

import pytest

from progress.serve.process_specs import FUNCTION_ENVIRONMENT
from tests.support import api, function_process
from tests.support.function_process import FunctionProcess

THREADS = int(FUNCTION_ENVIRONMENT["THREADS"])
GET = b"GET / HTTP/1.1\r\nHost: here\r\n"
WHOLE = GET + b"\r\n"
OFFER = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LINE = b"X-A: " + b"a" * 1_000 + b"\r\n"
ENOUGH_S = 100  # longer than a test
MIB = 1 << 20

Serve = Callable[[float], FunctionProcess]


@pytest.fixture(params=["ingest", "project"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """A function that starts ingest or project; heads must arrive within `timeout_s` seconds."""
    name = request.param
    with ExitStack() as stack:

        def start(timeout_s: float) -> FunctionProcess:
            limit = f"request_deadlines.limit(timeout_s={timeout_s})"
            text = function_process.edit(name, "request_deadlines.limit()", limit)
            return stack.enter_context(
                function_process.run(name, {"DATABASE_URL": api.NOWHERE}, text, forks=True)
            )

        yield start


@contextmanager
def connect(running: FunctionProcess, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        address = ("127.0.0.1", running.port)
        yield [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(count)
        ]


def responds(running: FunctionProcess) -> bool:
    return running.post(b"not a push") is not None


def ask(connection: socket.socket, head: bytes, step: int) -> bytes:
    with suppress(ConnectionError):  # the server may stop reading early
        for start in range(0, len(head), step):
            connection.sendall(head[start : start + step])
    return connection.recv(13)


@pytest.mark.first_in_gate
def test_connections_without_a_complete_head_do_not_delay_a_response(serve: Serve) -> None:
    running = serve(ENOUGH_S)
    with connect(running, THREADS) as silent, connect(running, 2 * THREADS) as slow:
        for number, byte in enumerate(WHOLE):
            for connection in slow:
                connection.send(bytes([byte]))
            if number % 8 == 0:
                assert responds(running)
        for connection in slow:
            assert connection.recv(13) == b"HTTP/1.1 200 "
        for connection in silent:
            assert ask(connection, OFFER, len(OFFER)) == b"HTTP/1.1 200 ", "the offer is ignored"


@pytest.mark.first_in_gate
def test_a_connection_without_a_complete_head_is_closed_at_the_deadline(serve: Serve) -> None:
    running = serve(2)
    with connect(running, 4) as (silent, half, late, slow):
        half.sendall(GET)
        assert ask(late, WHOLE + GET, 1_000) == b"HTTP/1.1 200 "
        slow.settimeout(0.01)
        with suppress(ConnectionError):
            while True:
                slow.send(GET[:1])
                with suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert (silent.recv(1), half.recv(1)) == (b"", b"")
        while late.recv(1_000):  # the rest of the first response
            pass
        assert responds(running)


def test_clients_that_do_not_close_their_connections_do_not_delay_a_response(serve: Serve) -> None:
    running = serve(ENOUGH_S)
    with connect(running, 2 * THREADS) as faulty:
        for connection in faulty:
            connection.sendall(b"faulty\r\n\r\n")
        assert responds(running)
        for connection in faulty:
            assert connection.recv(13) == b"HTTP/1.1 400 "


def test_methods_other_than_get_and_post_get_405(serve: Serve) -> None:
    """Before the database is asked: there is none here."""
    running = serve(ENOUGH_S)
    for method in ("HEAD", "PUT", "DELETE"):
        with closing(HTTPConnection("127.0.0.1", running.port, timeout=30)) as connection:
            connection.request(method, "/", b"" if method == "HEAD" else b"x")
            response = connection.getresponse()
            assert (response.status, response.getheader("Allow")) == (405, "GET, POST")


@pytest.mark.first_in_gate
def test_a_head_has_at_most_64_kib(serve: Serve) -> None:
    running = serve(ENOUGH_S)
    heads = {
        GET + 60 * LINE + b"\r\n": b"HTTP/1.1 200 ",
        b"\r\n" + WHOLE: b"HTTP/1.1 200 ",
        GET + 100 * LINE: b"HTTP/1.1 431 ",
        GET + b"X-A: " + 100_000 * b"a": b"HTTP/1.1 431 ",
        GET + 5_000 * b"X-A: a\r\n" + b"\r\n": b"HTTP/1.1 431 ",
        b"GET /" + 9_000 * b"a": b"HTTP/1.1 414 ",
        b"GET / HTTP/1.1\n": b"HTTP/1.1 400 ",
        b"\r\n\r\n": b"HTTP/1.1 400 ",
    }
    for head, response in heads.items():
        for step in (7_777, len(head)):
            with connect(running, 1) as (connection,):
                assert ask(connection, head, step) == response


@pytest.mark.first_in_gate
@pytest.mark.parametrize("name", ["ingest", "project"])
def test_a_long_request_line_gets_414_and_is_not_held_in_memory(name: str) -> None:
    with function_process.run(name, {"DATABASE_URL": api.NOWHERE}) as running:
        before = running.peak_memory()
        for length in (10_000, MIB, 20 * MIB):
            with connect(running, 1) as (connection,):
                line = b"POST /?%b HTTP/1.1\r\nHost: here\r\n\r\n" % (length * b"a")
                assert ask(connection, line, len(line)) == b"HTTP/1.1 414 "
        assert running.peak_memory() - before < 3 * MIB
