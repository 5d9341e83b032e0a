"""How much streams may hold: places, memory, time at the end; and that nothing is left of them."""

import asyncio
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import psutil
import pytest
from starlette.types import Message

from progress.local import readiness
from progress.query.http.sse import EventStream
from tests.conftest import Store
from tests.query.live.test_hearing import heard
from tests.support import subscription_client, token_issuer
from tests.support.subscription_client import (
    STANDING,
    Learning,
    Running,
    Stream,
    Subscribe,
    subscribe,
)

__all__ = ["subscribe"]

# One number under names so long that a few results fill every buffer on their way.
_NAMES = " ".join(f"{3_500 * letter}: totalSessionsCompleted" for letter in ascii_lowercase)
WIDE = f"subscription {{ progressUpdated {{ {_NAMES} }} }}"

QUICK = "alone=0.02, at_most=0"


@pytest.fixture
def learning(store: Store) -> Iterator[Learning]:
    made = Learning(store.url)
    yield made
    made.close()


def told_while_idle(
    port: int, subscribe: Subscribe, learning: Learning, lessons: int, **more: Any
) -> Stream:
    """A stream that is not read, while so many changes were told to another."""
    idle, reading = subscribe(port, WIDE, room=4096, **more), subscribe(port, STANDING)
    assert reading.told() is None
    for done in range(1, lessons + 1):
        learning.lesson()
        assert reading.told()["totalSessionsCompleted"] == done
    reading.close()
    return idle


def test_a_client_that_does_not_read_is_told_the_newest_when_it_does(
    store: Store, learning: Learning, subscribe: Subscribe, tmp_path: Path
) -> None:
    lessons = 80
    with subscription_client.function(store.url, tmp_path / "function", pace=QUICK) as running:
        idle = told_while_idle(running.port, subscribe, learning, lessons)
        told: list[Any] = [idle.told()]
        while told[-1] is None or lessons not in told[-1].values():
            told.append(idle.told())
        assert len(told) < lessons - 20


def test_a_stream_that_is_not_read_ends_with_its_token(
    store: Store, learning: Learning, subscribe: Subscribe, tmp_path: Path
) -> None:
    token = token_issuer.token("ann", exp=time.time() + 8)
    held = {"headers": {"authorization": f"Bearer {token}"}}
    with subscription_client.function(store.url, tmp_path / "function", pace=QUICK) as running:
        idle = told_while_idle(running.port, subscribe, learning, 60, **held)
        assert connections(running) == 1
        readiness.wait(lambda: connections(running) == 0, "the end of the stream")
        idle.close()
    assert not (tmp_path / "function" / "output").read_text(encoding="utf-8").count("ERROR")


def connections(running: Running) -> int:
    """How many clients are connected."""
    (worker,) = psutil.Process(running.process.pid).children()
    known = worker.net_connections("tcp")
    return sum(c.status == "ESTABLISHED" and c.laddr.port == running.port for c in known)


def test_the_end_of_the_process_ends_the_streams(
    store: Store, learning: Learning, subscribe: Subscribe, tmp_path: Path
) -> None:
    with subscription_client.function(store.url, tmp_path / "function", pace=QUICK) as running:
        idle = told_while_idle(running.port, subscribe, learning, 60)
        streams = [subscribe(running.port, STANDING) for _ in range(3)]
        for each in streams:
            assert each.told()
        running.process.send_signal(signal.SIGTERM)
        for each in streams:
            assert each.last() is None
        assert running.process.wait(8) == 0  # though one client does not read
        idle.close()


def test_a_caller_and_an_instance_have_so_many_places(
    store: Store, subscribe: Subscribe, tmp_path: Path
) -> None:
    limits = "of_a_caller=2, of_the_instance=3"
    with subscription_client.function(store.url, tmp_path / "function", limits=limits) as running:
        port = running.port
        first, _ = streams = [subscribe(port, STANDING) for _ in range(2)]
        assert [each.told() for each in streams] == [None, None]
        refused = subscribe(port, STANDING)
        assert refused.status == 429
        assert refused.body()["errors"][0]["extensions"] == {"code": "RATE_LIMITED"}
        assert subscribe(port, STANDING, "bob").told() is None
        full = subscribe(port, STANDING, "eve")
        assert full.status == 503
        assert full.body()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
        assert {each.response.headers["retry-after"] for each in (refused, full)} == {"5"}
        first.close()
        readiness.wait(lambda: subscribe(port, STANDING).status == 200, "a free place")


def test_what_is_refused_takes_no_place(store: Store, subscribe: Subscribe, tmp_path: Path) -> None:
    limits = "of_a_caller=1, of_the_instance=1"
    query = 'subscription { streakUpdated(userId: "bob") { current } }'
    with subscription_client.function(store.url, tmp_path / "function", limits=limits) as running:
        for _ in range(3):
            event = subscribe(running.port, query).event()
            assert event
            assert event[1]["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
        assert subscribe(running.port, STANDING).told() is None


def test_opening_a_stream_counts_as_a_request(
    store: Store, subscribe: Subscribe, tmp_path: Path
) -> None:
    told = {"RATE_LIMIT_PER_MINUTE": "3"}
    with subscription_client.function(store.url, tmp_path / "function", **told) as running:
        statuses = [subscribe(running.port, STANDING).status for _ in range(7)]
        # A minute may end in between, once.
        assert statuses[:3] == [200] * 3
        refused = subscribe(running.port, STANDING)
        assert 429 in (*statuses, refused.status)


def test_a_silent_stream_beats(store: Store, subscribe: Subscribe, tmp_path: Path) -> None:
    limits = "heartbeat=0.05"
    with subscription_client.function(store.url, tmp_path / "function", limits=limits) as running:
        stream = subscribe(running.port, STANDING)
        assert stream.told() is None
        for _ in range(5):
            stream.beat()


def test_a_thousand_streams_leave_nothing(store: Store, valkey: str, tmp_path: Path) -> None:
    told = {"REDIS_URL": valkey, "RATE_LIMIT_PER_MINUTE": "1000000"}
    with subscription_client.function(store.url, tmp_path / "function", **told) as running:

        def visited() -> bool:
            with closing(Stream(running.port, STANDING)) as stream:
                if stream.status == 429:  # the end of the one before was not heard of yet
                    return False
                assert stream.told() is None
                return True

        def visit(_: int) -> None:
            readiness.wait(visited, "a stream")

        with ThreadPoolExecutor(8) as visitors:
            [*visitors.map(visit, range(700))]  # what they leave at first is used again
            readiness.wait(lambda: heard(valkey) == 0, "the end of the streams")
            before = held(running)
            [*visitors.map(visit, range(1_000))]
        readiness.wait(lambda: heard(valkey) == 0, "the end of the streams")
        # The pool may have taken some more connections to the database.
        readiness.wait(lambda: held(running)[0] < before[0] + 10, "the end of the connections")
        assert held(running)[1] < before[1] + 5_000_000


def held(running: Running) -> tuple[int, int]:
    """The open files and the bytes of the process that answers."""
    (worker,) = psutil.Process(running.process.pid).children()
    return worker.num_fds(), worker.memory_info().rss


def test_a_stream_that_ended_gives_its_place_back_though_it_is_still_known() -> None:
    left: list[str] = []

    async def following() -> bytes:
        raise StopAsyncIteration

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    async def send(_: Message) -> None:
        pass

    async def sent() -> None:
        held = ExitStack()
        held.callback(left.append, "place")
        stream = EventStream(
            b"{}", following, lambda: None, held, until=time.time() + 60, heartbeat=1
        )
        del held
        await stream({"type": "http", "method": "POST"}, receive, send)
        assert left == ["place"]

    asyncio.run(sent())
