"""Many open subscription streams on one instance, and changes that all of them report."""

import asyncio
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
from bench.server import Server
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.local import readiness
from progress.local.ports import HOST
from progress.projections.projector import SHARDS
from tests.support.envelopes import envelope

_STREAMS = 800
_DAYS, _ANSWERS, _FRESH = 10, 20, 6
_CHANGES = 5
_NEXT = b"event: next\n"
_TIMEOUT_S = 60.0
_PROGRESS = """subscription($of: ID) {
    progressUpdated(userId: $of) {
        totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes currentStreak accuracyRate
        masteryStats { unlearned learning shortTermMastered longTermMastered } lastUpdated
    }
}"""


class _Reader(ClientProtocol):
    """A connection that reads one stream and counts the events."""

    def __init__(self, request: bytes) -> None:
        self.events = 0
        self.last_event_at = 0.0
        self._request, self._tail = request, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        received = self._tail + data
        self._tail = received[-len(_NEXT) + 1 :]
        if count := received.count(_NEXT):
            self.events += count
            self.last_event_at = time.perf_counter()


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
                    f"{late} of {len(self._readers)} streams have fewer than {times} events"
                )
            time.sleep(0.005)
        return max(reader.last_event_at for reader in self._readers)


@contextmanager
def open_streams(port: int, requests: list[bytes]) -> Iterator[StreamReaders]:
    """Open a stream for each request. The `with` block begins after each stream's first event."""
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


async def _connect(port: int, requests: list[bytes]) -> list[_Reader]:
    loop = asyncio.get_running_loop()
    readers = []
    for request in requests:
        _, reader = await loop.create_connection(
            lambda request=request: _Reader(request),  # type: ignore[misc] # mypy does not see the default
            HOST,
            port,
        )
        readers.append(reader)
    return readers


@dataclass(frozen=True)
class _Setup:
    """The learners, and the functions that fold and stream the learners' changes."""

    learners: list[str]
    connection: Connection
    query: Function
    project: Function

    @contextmanager
    def open_streams(self, learner: str | None = None) -> Iterator[StreamReaders]:
        """Open one stream for each of `self.learners`.

        A stream reports the progress of its own learner. If `learner` is given, all streams report
        the progress of `learner` instead.
        """
        body = {"query": _PROGRESS, "variables": {"of": learner}}
        accept = "Accept: text/event-stream"
        streams = [
            encode_post(body, "/graphql/stream", function_client.bearer(own, "support"), accept)
            for own in self.learners
        ]
        with open_streams(self.query.port, streams) as readers:
            yield readers
        readiness.wait(lambda: self.query.connections() < _STREAMS // 10, "the end of the streams")

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


def measure_streams(server: Server) -> Iterator[Line]:
    """Measure memory, and the time until all streams have received a change."""
    with ExitStack() as stack:
        setup = _set_up(stack, server)
        for whose, learner in (
            ("each about a different learner", None),
            ("all about one learner", setup.learners[0]),
        ):
            with setup.open_streams(learner) as readers:
                yield _measure_change(setup, readers, whose, learner)
                if learner is None:
                    what = f"memory of query with {_STREAMS} open streams"
                    yield limit(what, setup.query.memory(), 250, "MB")


def _set_up(stack: ExitStack, server: Server) -> _Setup:
    store = server.create_store()
    stack.callback(server.drop, store)
    learners = logs.fill_studies(
        store, learners=_STREAMS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH
    )
    query = stack.enter_context(functions.run_query(server, store))
    project = stack.enter_context(functions.run("project", **query.environment))
    connection = stack.enter_context(closing(store.connect()))
    return _Setup(learners, connection, query, project)


def _measure_change(setup: _Setup, readers: StreamReaders, whose: str, learner: str | None) -> Line:
    changed = [learner] if learner else setup.learners
    milliseconds = []
    for number in range(_CHANGES):
        projected = setup.change(changed)
        milliseconds.append(1_000 * max(0.0, readers.wait_for(number + 2) - projected))
    median = statistics.median(milliseconds)
    return limit(
        f"{_STREAMS} open streams, {whose}: time from a fold until all streams show the change",
        *(median, 1_000, "ms"),
        shown=f"{median:.0f} ms (slowest of {_CHANGES}: {max(milliseconds):.0f})",
    )
