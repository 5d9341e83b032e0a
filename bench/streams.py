"""Many open subscriptions on one instance, over streams and over sockets, and their changes."""

import asyncio
import functools
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import uvloop

from bench import envelopes, function_client, functions, logs
from bench.function_client import encode_post
from bench.functions import Function
from bench.lines import Line, limit
from bench.request_batch import ClientProtocol
from bench.server import Server, Store
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.local import readiness
from progress.local.ports import HOST
from progress.projections.projector import SHARDS
from progress.query.http.subscriptions import StreamLimits
from tests.support.envelopes import envelope
from tests.support.socket_client import frame, upgrade

_STREAMS = 800
_KINDS = "streams", "sockets"
_AT_A_TIME = StreamLimits().strangers_per_address // 2
_DAYS, _ANSWERS, _FRESH = 10, 20, 6
_CHANGES = 5
_NEXT = b"event: next\n", b'"type":"next"'  # in a stream, and in a socket
_PING, _PONG = b"\x89\x04", 10
_TIMEOUT_S = 60.0
_PROGRESS = """subscription($of: ID) {
    progressUpdated(userId: $of) {
        totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes currentStreak accuracyRate
        masteryStats { unlearned learning shortTermMastered longTermMastered } lastUpdated
    }
}"""


class _Reader(ClientProtocol):
    """A connection that sends a request, reads one subscription and counts the results.

    A socket sends `messages` after the response, and answers pings.
    """

    def __init__(self, request: bytes, messages: bytes) -> None:
        self.events = 0
        self.last_event_at = 0.0
        self.has_begun = asyncio.Event()
        self._request, self._messages, self._tail = request, messages, b""
        self._next = _NEXT[bool(messages)]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._messages and data.startswith(b"HTTP/1.1 101 "):
            self.transport.write(self._messages)
        elif self._messages and _PING in data:
            start = data.index(_PING) + len(_PING)
            self.transport.write(frame(data[start : start + 4], _PONG))
        received = self._tail + data
        self._tail = received[-len(self._next) + 1 :]
        if count := received.count(self._next):
            self.events += count
            self.last_event_at = time.perf_counter()
            self.has_begun.set()


class StreamReaders:
    """Streams that are open; a separate thread reads them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, readers: list[_Reader]) -> None:
        self._loop, self._readers = loop, readers

    def wait_for(self, times: int) -> float:
        """Wait until each stream has received `times` events; return the time of the last one."""
        deadline = time.perf_counter() + _TIMEOUT_S
        while any(reader.events < times for reader in self._readers):
            if time.perf_counter() > deadline:
                late = sum(reader.events < times for reader in self._readers)
                raise RuntimeError(
                    f"{late} of {len(self._readers)} connections have fewer than {times} events"
                )
            time.sleep(0.005)
        return max(reader.last_event_at for reader in self._readers)


@contextmanager
def open_streams(port: int, requests: list[tuple[bytes, bytes]]) -> Iterator[StreamReaders]:
    """Open a stream or socket for each request with its messages.

    The `with` block begins after each first result.
    """
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        readers = asyncio.run_coroutine_threadsafe(_connect(port, requests), loop).result(
            _TIMEOUT_S
        )
        stream_readers = StreamReaders(loop, readers)
        stream_readers.wait_for(1)
        yield stream_readers
        for reader in readers:
            loop.call_soon_threadsafe(reader.transport.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect(port: int, requests: list[tuple[bytes, bytes]]) -> list[_Reader]:
    """Open a few connections at a time: one address may have only a few sockets without a token."""
    loop = asyncio.get_running_loop()
    readers: list[_Reader] = []
    for request in requests:
        if len(readers) >= _AT_A_TIME:
            await readers[-_AT_A_TIME].has_begun.wait()
        _, reader = await loop.create_connection(functools.partial(_Reader, *request), HOST, port)
        readers.append(reader)
    return readers


@dataclass(frozen=True)
class _Setup:
    """The learners, and the functions that fold and send the learners' changes."""

    learners: list[str]
    connection: Connection
    project: Function

    @contextmanager
    def open_streams(
        self, query: Function, kind: str, about: str | None
    ) -> Iterator[StreamReaders]:
        """Open one stream, or one socket, for each of `self.learners`.

        It reports the progress of its own learner or, if `about` is given, of that learner.
        """
        body = {"query": _PROGRESS, "variables": {"of": about}}
        encode = _encode_stream if kind == "streams" else _encode_socket
        requests = [encode(body, function_client.bearer(own, "support")) for own in self.learners]
        with open_streams(query.port, requests) as readers:
            yield readers
        readiness.wait(lambda: query.connections() < _STREAMS // 10, f"the end of the {kind}")

    def change(self, learners: list[str]) -> float:
        """Record and fold one answer of each learner; return the time when all are folded."""
        at = datetime.now(UTC).isoformat()
        answer = {"session_id": "s", "item_id": "item-1", "response_time_ms": 9}
        events = [
            envelope("CorrectAnswerGiven", {"user_id": learner, **answer}, occurred_at=at)
            for learner in learners
        ]
        log.append(self.connection, [envelopes.delivery(events)])
        for shard in SHARDS:
            function_client.fetch(self.project.port, function_client.encode_wake_up(shard))
        return time.perf_counter()


def _encode_stream(body: object, bearer: str) -> tuple[bytes, bytes]:
    accept = "Accept: text/event-stream"
    return encode_post(body, "/graphql/stream", bearer, accept), b""


def _encode_socket(body: object, bearer: str) -> tuple[bytes, bytes]:
    """Return the request that opens a socket, and the messages that authenticate and subscribe."""
    name, _, value = bearer.partition(": ")
    messages = (
        {"type": "connection_init", "payload": {name: value}},
        {"type": "subscribe", "id": "1", "payload": body},
    )
    return upgrade(f"{HOST}"), b"".join(frame(json.dumps(each).encode()) for each in messages)


def measure_streams(server: Server) -> Iterator[Line]:
    """Measure memory, and the time until all streams, or all sockets, have received a change."""
    with ExitStack() as stack:
        store = server.create_store()
        stack.callback(server.drop, store)
        learners = logs.fill_studies(
            store, learners=_STREAMS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH
        )
        connection = stack.enter_context(closing(store.connect()))
        for kind in _KINDS:
            yield from _measure(server, store, learners, connection, kind)


def _measure(
    server: Server, store: Store, learners: list[str], connection: Connection, kind: str
) -> Iterator[Line]:
    with (
        functions.run_query(server, store) as query,
        functions.run("project", **query.environment, PUBLISH_EVENTS="off") as project,
    ):
        setup = _Setup(learners, connection, project)
        for whose, learner in (
            ("each about a different learner", None),
            ("all about one learner", learners[0]),
        ):
            with setup.open_streams(query, kind, learner) as readers:
                yield _measure_change(setup, readers, f"{_STREAMS} open {kind}, {whose}", learner)
                if learner is None:
                    what = f"memory of query with {_STREAMS} open {kind}"
                    yield limit(what, query.memory(), 250, "MB")


def _measure_change(setup: _Setup, readers: StreamReaders, what: str, learner: str | None) -> Line:
    changed = [learner] if learner else setup.learners
    milliseconds = []
    for number in range(_CHANGES):
        projected = setup.change(changed)
        milliseconds.append(1_000 * max(0.0, readers.wait_for(number + 2) - projected))
    median = statistics.median(milliseconds)
    return limit(
        f"{what}: time from a fold until all show the change",
        *(median, 1_000, "ms"),
        shown=f"{median:.0f} ms (slowest of {_CHANGES}: {max(milliseconds):.0f})",
    )
