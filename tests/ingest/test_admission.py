"""A body gets 429 if the memory for bodies is exhausted. No client holds this memory forever.

Bodies over 64 MiB are rejected.
"""

import contextlib
import socket
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
from werkzeug.exceptions import ServiceUnavailable

from progress.adapters import request_deadlines
from progress.adapters.request_deadlines import Arrival, BodyDeadline
from progress.ingest import admission
from progress.serve import readiness
from tests.conftest import Store
from tests.ingest.test_ingest import count, letters
from tests.support import function_process, http_client
from tests.support.body_client import Client, clients
from tests.support.envelopes import session_started
from tests.support.function_process import FunctionProcess
from tests.support.pushes import encode_push

MIB = 1 << 20

# A function that accepts every admitted body.
SOURCE = """
    import functions_framework
    from progress.adapters import request_deadlines
    from progress.adapters.pubsub import push_request
    from progress.ingest.admission import Admission

    request_deadlines._SLOW_S = {timeout_s}
    admission = Admission({capacity}, timeout_s={timeout_s})

    def ingest(request):
        return push_request.respond(admission.admit(request, lambda *_: 204))
"""

# A wrapper that responds to GET /reserved with the number of reserved bytes. Such a request does
# not pass through `admission`.
REPORT = """

admitted = ingest

@functions_framework.http
def ingest(request):
    if request.path == "/reserved":
        return str(admission._reserved)
    return admitted(request)
"""
ENOUGH_S = 100  # seconds; the time limit for the arrival of a body


def serve(text: str, url: str = "unused") -> AbstractContextManager[FunctionProcess]:
    return function_process.run("ingest", {"DATABASE_URL": url}, textwrap.dedent(text) + REPORT)


@pytest.fixture
def ingest(store: Store) -> Iterator[FunctionProcess]:
    patient = f"Admission(timeout_s={ENOUGH_S})"
    text = function_process.edit("ingest", "Admission()", patient)
    with serve(text, store.url) as running:
        yield running


def accept(capacity: int, timeout_s: float = ENOUGH_S) -> AbstractContextManager[FunctionProcess]:
    return serve(SOURCE.format(capacity=capacity, timeout_s=timeout_s))


@pytest.fixture(scope="module")
def shared() -> Iterator[FunctionProcess]:
    with accept(MIB) as running:
        yield running


@pytest.fixture
def small(shared: FunctionProcess) -> FunctionProcess:
    """A function that reserves at most 1 MiB for bodies, and holds none from an earlier test."""
    readiness.wait(lambda: not reserved(shared), "the end of earlier bodies", seconds=300)
    return shared


def push(size: int) -> bytes:
    whole = encode_push(session_started(), attributes={"padding": "x"})
    return whole.replace(b'"x"', b'"%s"' % (b"x" * (size - len(whole) + 1)))


def reserved(running: FunctionProcess) -> int:
    return int(http_client.fetch(running.port, "GET", "/reserved", seconds=60)[1])


def await_reserved(running: FunctionProcess, size: int) -> None:
    readiness.wait(lambda: reserved(running) >= size, "the body", seconds=300)


def hold(client: Client, running: FunctionProcess, size: int) -> None:
    client.begin(size)
    client.send(b"x")
    await_reserved(running, size)


def test_bodies_over_the_memory_limit_get_429_and_are_recorded_when_sent_again(
    ingest: FunctionProcess, store: Store
) -> None:
    first, second, little = push(20 * MIB), push(20 * MIB), push(1_000)
    with clients(ingest, 4) as (one, two, three, four):
        one.begin(len(first))
        one.send(first[: 10 * MIB])
        await_reserved(ingest, 20 * MIB)
        assert two.post(second) == 429
        assert two.post(second) == 429  # the connection stays usable, until it is idle for 2 s
        assert three.post(little) == 204
        one.send(first[10 * MIB :])
        assert one.status() == 204
        assert four.post(second) == 204
    assert count(store.url) == 3
    assert letters(store) == []


def test_a_body_over_the_memory_limit_is_admitted_while_no_other_body_is_arriving(
    small: FunctionProcess,
) -> None:
    body = b"x" * (3 * MIB)
    with clients(small, 2) as (one, two):
        assert one.post(body) == 204
        hold(two, small, 1_000)
        assert one.post(body) == 429
        two.send(b"x" * 999)
        assert two.status() == 204
        assert one.post(body) == 204


def test_a_body_of_unknown_length_reserves_16_mib() -> None:
    with accept(32 * MIB) as large, clients(large, 3) as (one, two, three):
        for client in (one, two):
            client.begin(None)
            client.chunk(b"x")
        await_reserved(large, 32 * MIB)
        assert three.post_chunks(b"x") == 429
        for client in (one, two):
            client.send(b"0\r\n\r\n")
            assert client.status() == 204
        assert three.post_chunks(b"x") == 204


@pytest.mark.exhaustive
def test_a_body_of_unknown_length_reserves_more_memory_as_it_grows() -> None:
    with accept(32 * MIB) as large, clients(large, 2) as (one, two):
        hold(one, large, 12 * MIB)
        for status in (429, 204):
            assert two.post_chunks(*[b"x" * MIB] * 24) == status
            if status == 429:
                one.send(b"x" * (12 * MIB - 1))
                assert one.status() == 204


def test_a_client_that_expects_100_continue_gets_that_response(small: FunctionProcess) -> None:
    body = b"x" * (2 * MIB)
    with clients(small, 3) as (one, held, other):
        one.begin(len(body), "Expect: 100-continue")
        assert one.status() == 100
        one.send(body)
        assert one.status() == 204
        hold(held, small, 60_000)
        other.begin(len(body), "Expect: 100-continue")
        assert other.status() == 100
        other.send(body)
        assert other.status() == 429


@pytest.mark.first_in_gate
@pytest.mark.parametrize("is_end", [False, True], ids=["slow", "incomplete"])
@pytest.mark.parametrize("length", [MIB, 1_000, None], ids=["large", "small", "chunked"])
def test_a_body_that_does_not_arrive_frees_its_memory(length: int | None, *, is_end: bool) -> None:
    with accept(MIB, timeout_s=2) as hasty, clients(hasty, 2) as (slow, other):
        slow.begin(length)
        slow.send(b"100000\r\n" if length is None else b"", b"x")
        if is_end:
            slow.end_sending()
        assert slow.status() == 408
        readiness.wait(lambda: other.post(b"x" * MIB) == 204, "the space", seconds=300)


def test_a_rejected_body_that_arrives_slowly_is_cut_off() -> None:
    # Memory is reserved for ever, so the time limit need not outlast the begin of another body.
    source = SOURCE.format(capacity=MIB, timeout_s=1) + "    admission.resize(0, 60_000)\n"
    with serve(source) as running, clients(running, 1) as (slow,):
        slow.begin(MIB)
        slow.send(b"x")
        assert slow.status() == 429


@pytest.mark.first_in_gate
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_discarded_body_is_not_held_in_memory(method: str) -> None:
    body = b"x" * (30 * MIB)
    with accept(MIB) as small, clients(small, 5) as (held, *others):
        hold(held, small, 60_000)
        before = small.peak_memory()

        def post_whole(other: Client) -> int:
            other.begin(len(body), method=method)
            other.send(body)
            return other.status()

        with ThreadPoolExecutor(4) as pool:
            assert {*pool.map(post_whole, others)} == {429}
        assert small.peak_memory() - before < 2 * len(body)
        held.send(b"x" * 59_999)
        assert held.status() == 204


def test_health_checks_succeed_while_the_memory_is_full(small: FunctionProcess) -> None:
    with clients(small, 2) as (held, other):
        hold(held, small, MIB)
        other.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert other.status() == 200


@pytest.mark.exhaustive
def test_an_array_of_a_million_numbers_is_recorded_quickly_in_little_memory(
    ingest: FunctionProcess, store: Store
) -> None:
    before = ingest.peak_memory()
    body = encode_push(b"[" + b"1," * 999_999 + b"1]", message_id="ones")
    assert [ingest.post(body), ingest.post(body)] == [204, 204]
    assert len(letters(store)) == 1_000
    assert ingest.peak_memory() - before < 20 * len(body)


@pytest.mark.first_in_gate
@pytest.mark.parametrize("length", [65 * MIB, None], ids=["a length", "chunked"])
def test_a_body_over_64_mib_gets_413_and_is_discarded(length: int | None) -> None:
    parts = [b"x" * MIB] * 65
    with accept(MIB) as own, clients(own, 1) as (one,):
        before = own.peak_memory()
        assert (one.post_chunks(*parts) if length is None else one.post(b"".join(parts))) == 413
        assert one.post(b"x") == 204  # the connection stays usable
        assert length is None or own.peak_memory() - before < 10 * MIB


def test_a_body_over_64_mib_does_not_reserve_memory_while_it_arrives(
    small: FunctionProcess,
) -> None:
    with clients(small, 2) as (large, other):
        large.begin(65 * MIB)
        large.send(b"x" * MIB)
        assert reserved(small) == 0
        assert other.post(b"x" * 1_000) == 204


def test_bodies_that_never_end_keep_no_other_body_waiting(
    ingest: FunctionProcess, store: Store
) -> None:
    """More bodies than ingest has threads begin, at /events without a token."""
    for path, refusal in (("/", 429), ("/events", 401)):
        with clients(ingest, 100) as slow, clients(ingest, 1) as (other,):
            for client in slow:
                client.begin(1_000, path=path)
                client.send(b"x")
            assert other.post(push(1_000)) == 204
            assert {client.status() for client in slow[-60:]} == {refusal}
    assert count(store.url) == 2


@pytest.mark.parametrize(("sizes", "kept"), [((1,) * 40, 31), ((8 * MIB,) * 4, 2)])
def test_room_for_slow_bodies_is_made_by_the_sender_who_has_most_of_them(
    sizes: tuple[int, ...], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_deadlines, "_SLOW_S", 0.0)
    deadline, ours = BodyDeadline(), socket.socket()
    other = Arrival(60, 2 * MIB, "other", ours)
    bodies = [Arrival(60, size, "one", ours) for size in sizes]
    deadline._arriving = dict.fromkeys([*bodies, other])
    deadline._stop_late()
    assert [each.is_refused for each in bodies] == [n >= kept for n in range(len(bodies))]
    assert not other.is_refused
    ours.close()


def test_two_large_bodies_are_decoded_at_a_time_and_one_of_each_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "_TURN_S", 0.01)
    decode, large = admission.Admission().decode, bytearray(admission._LARGE_BYTES + 1)

    def has_turn(body: bytearray, sender: str) -> bool:
        with contextlib.suppress(ServiceUnavailable):
            return decode(body, sender, bool)
        return False

    def decode_others(_: bytearray) -> list[bool]:
        sent = ((large, "eve"), (large, "ben"), (large[1:], "eve"))
        return [has_turn(body, sender) for body, sender in sent]

    for _ in range(2):
        told = decode(large, "eve", lambda _: decode(large, "ann", decode_others))
        assert told == [False, False, True]
