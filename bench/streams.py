"""Many open subscription streams on one instance, with changes and queries at the same time."""

import base64
import itertools
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bench import cores, function_client, functions, request_batch, stream_readers, study, valkey
from bench.function_client import Issuer
from bench.functions import Function
from bench.lines import Line, Rounds
from bench.load import encode_post
from bench.request_batch import RequestBatch
from bench.server import Server
from bench.stream_readers import StreamReaders
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.ingest import push
from progress.local import readiness
from progress.projections.projector import SHARDS

_STREAMS = 800
_DAYS, _ANSWERS, _FRESH = 10, 20, 6
_CHANGES, _ROUNDS = 5, 5
_A_SECOND, _SECONDS = 100, 3
_PAUSE = 0.25  # seconds between two changes while queries are measured
_PROGRESS = """subscription($of: ID) {
    progressUpdated(userId: $of) {
        totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes currentStreak accuracyRate
        masteryStats { unlearned learning shortTermMastered longTermMastered } lastUpdated
    }
}"""
_QUERY = "{ streak { current longest } levelStats { level itemsStudied progressRate } }"


@dataclass(frozen=True)
class _Setup:
    """The learners, and the functions that fold and stream the learners' changes."""

    learners: list[str]
    issuer: Issuer
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
            encode_post(body, "/graphql/stream", self.issuer.bearer(learner, "support"), accept)
            for learner in self.learners
        ]
        with stream_readers.open_streams(self.query.port, streams) as readers:
            yield readers
        readiness.wait(lambda: self.query.connections() < _STREAMS // 10, "the end of the streams")

    def change(self, learners: list[str]) -> float:
        """Record and fold one answer of each learner; return the time when all are folded."""
        events = [_answer(learner) for learner in learners]
        message = {"messageId": str(uuid.uuid4()), "data": _text(events)}
        log.append(
            self.connection, [push.parse_delivery(msgspec.json.encode({"message": message}))]
        )
        for shard in SHARDS:
            function_client.fetch(self.project.port, function_client.encode_wake_up(shard))
        return time.perf_counter()

    def queries(self) -> list[float]:
        """Send queries steadily while learners' progress changes; return each query's seconds."""
        stop = threading.Event()
        changes = threading.Thread(target=self._change_until, args=(stop,))
        queries = (
            self.issuer.encode_query(_QUERY, learner) for learner in itertools.cycle(self.learners)
        )
        requests = list(itertools.islice(queries, _A_SECOND * _SECONDS))
        changes.start()
        try:
            batch = RequestBatch(self.query.port, requests, a_second=_A_SECOND)
            return [response.seconds for response in request_batch.send(batch).responses]
        finally:
            stop.set()
            changes.join()

    def _change_until(self, stop: threading.Event) -> None:
        for learner in itertools.cycle(self.learners):
            self.change([learner])
            if stop.wait(_PAUSE):
                return


def measure_streams(server: Server) -> Iterator[Line]:
    """Measure memory, the time until all streams have received a change, and query latency."""
    with ExitStack() as stack:
        setup = _set_up(stack, server)
        for whose, learner in (
            ("each about a different learner", None),
            ("all about one learner", setup.learners[0]),
        ):
            with setup.open_streams(learner) as readers:
                yield _measure_change(setup, readers, whose, learner)
                if learner is None:
                    yield _measure_memory(setup)
        yield from _measure_queries(setup)


def _set_up(stack: ExitStack, server: Server) -> _Setup:
    store = server.create_store()
    stack.callback(server.drop, store)
    learners = study.fill(store, learners=_STREAMS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH)
    stack.enter_context(cores.pin(server.pid, cores.REST))
    issuer = stack.enter_context(function_client.serve_issuer())
    with cores.use(cores.REST):
        redis = stack.enter_context(valkey.run())
        environment = {**issuer.environment, "DATABASE_URL": store.url, "REDIS_URL": redis}
        project = stack.enter_context(functions.run("project", **environment))
    with cores.use(cores.MEASURED):
        query = stack.enter_context(functions.run("query", **environment))
    stack.enter_context(cores.use(cores.REST))
    connection = stack.enter_context(closing(store.connect()))
    return _Setup(learners, issuer, connection, query, project)


def _measure_change(setup: _Setup, readers: StreamReaders, whose: str, learner: str | None) -> Line:
    changed = [learner] if learner else setup.learners
    milliseconds = []
    for number in range(_CHANGES):
        projected = setup.change(changed)
        milliseconds.append(1_000 * max(0.0, readers.wait_for(number + 2) - projected))
    median = statistics.median(milliseconds)
    return Line(
        f"{_STREAMS} open streams, {whose}: time from a fold until all streams show the change",
        f"{median:.0f} ms (slowest of {_CHANGES}: {max(milliseconds):.0f})",
        "",
        median,
        1_000,
        "ms",
        at_most=True,
    )


def _measure_memory(setup: _Setup) -> Line:
    megabytes = setup.query.memory()
    what = f"memory of query with {_STREAMS} open streams"
    return Line(what, f"{megabytes:.0f} MB", "", megabytes, 250, "MB", at_most=True)


def _measure_queries(setup: _Setup) -> Iterator[Line]:
    rounds = Rounds()
    for number in range(_ROUNDS + 1):
        without = setup.queries()
        with setup.open_streams():
            beside = setup.queries()
        if number:  # the first round is a warm-up
            for how, milliseconds in (("without", without), ("beside", beside)):
                rounds.add(f"{how}, median", 1_000 * statistics.median(milliseconds))
                rounds.add(f"{how}, p95", 1_000 * statistics.quantiles(milliseconds, n=20)[-1])
    for statistic in ("median", "p95"):
        ours, theirs = f"beside, {statistic}", f"without, {statistic}"
        yield Line(
            f"queries at {_A_SECOND} a second with {_STREAMS} open streams: latency, {statistic}",
            f"{rounds.median(ours):.1f} ms",
            f"without streams: {rounds.median(theirs):.1f} ms",
            rounds.ratio(ours, theirs),
            1.5,
            at_most=True,
        )


def _answer(learner: str) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "CorrectAnswerGiven",
        "occurred_at": datetime.now(UTC).isoformat(),
        "data": {"user_id": learner, "session_id": "s", "item_id": "item-1", "response_time_ms": 9},
    }


def _text(events: list[dict[str, Any]]) -> str:
    return base64.b64encode(msgspec.json.encode(events)).decode()
