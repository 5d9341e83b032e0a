"""Subscriptions: many open streams on one instance, told of changes while queries are answered."""

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

from bench import asking, audience, cores, functions, study, valkey, volley
from bench.asking import Issuer
from bench.audience import Audience
from bench.functions import Function
from bench.lines import Line, Rounds
from bench.load import post
from bench.server import Server
from bench.volley import Volley
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.ingest import push
from progress.local import readiness
from progress.projections.projector import SHARDS

_STREAMS = 800
_DAYS, _ANSWERS, _FRESH = 10, 20, 6
_CHANGES, _ROUNDS = 5, 5
_A_SECOND, _SECONDS = 100, 3
_PAUSE = 0.25  # seconds between two changes while queries are timed
_STANDING = """subscription($of: ID) {
    progressUpdated(userId: $of) {
        totalItemsLearned totalSessionsCompleted totalStudyTimeMinutes currentStreak accuracyRate
        masteryStats { unlearned learning shortTermMastered longTermMastered } lastUpdated
    }
}"""
_QUERY = "{ streak { current longest } levelStats { level itemsStudied progressRate } }"


@dataclass(frozen=True)
class _Scene:
    """Learners whose standing changes, and the functions that make it and tell of it."""

    learners: list[str]
    issuer: Issuer
    connection: Connection
    query: Function
    project: Function

    @contextmanager
    def listening(self, learner: str | None = None) -> Iterator[Audience]:
        """Everybody listens to how they stand themselves, or all to how the one learner does."""
        asked = {"query": _STANDING, "variables": {"of": learner}}
        accept = "Accept: text/event-stream"
        streams = [
            post(asked, "/graphql/stream", self.issuer.bearer(each, "support"), accept)
            for each in self.learners
        ]
        with audience.listening(self.query.port, streams) as opened:
            yield opened
        readiness.wait(lambda: self.query.connections() < _STREAMS // 10, "the end of the streams")

    def change(self, learners: list[str]) -> float:
        """An answer of each is in the read models; the moment at which the last of them was."""
        events = [_answer(learner) for learner in learners]
        message = {"messageId": str(uuid.uuid4()), "data": _text(events)}
        log.append(self.connection, [push.open_push(msgspec.json.encode({"message": message}))])
        for shard in SHARDS:
            asking.answer(self.project.port, asking.wake_up(shard))
        return time.perf_counter()

    def queries(self) -> list[float]:
        """Seconds until each of some queries was answered, while there are some changes."""
        over = threading.Event()
        changes = threading.Thread(target=self._change_until, args=(over,))
        asked = (self.issuer.question(_QUERY, each) for each in itertools.cycle(self.learners))
        requests = list(itertools.islice(asked, _A_SECOND * _SECONDS))
        changes.start()
        try:
            return volley.fire(Volley(self.query.port, requests, a_second=_A_SECOND)).each
        finally:
            over.set()
            changes.join()

    def _change_until(self, over: threading.Event) -> None:
        for learner in itertools.cycle(self.learners):
            self.change([learner])
            if over.wait(_PAUSE):
                return


def told(server: Server) -> Iterator[Line]:
    """Memory, the time until all are told, and what the streams cost the queries."""
    with ExitStack() as stack:
        scene = _scene(stack, server)
        for whose, learner in (
            ("each another learner's", None),
            ("all one learner's", scene.learners[0]),
        ):
            with scene.listening(learner) as listening:
                yield _until_all(scene, listening, whose, learner)
                if learner is None:
                    yield _memory(scene)
        yield from _cost(scene)


def _scene(stack: ExitStack, server: Server) -> _Scene:
    store = server.store()
    stack.callback(server.drop, store)
    learners = study.fill(store, learners=_STREAMS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH)
    stack.enter_context(cores.kept(server.pid, cores.REST))
    issuer = stack.enter_context(asking.issuer())
    with cores.on(cores.REST):
        redis = stack.enter_context(valkey.running())
        told = {**issuer.environment, "DATABASE_URL": store.url, "REDIS_URL": redis}
        project = stack.enter_context(functions.running("project", **told))
    with cores.on(cores.MEASURED):
        query = stack.enter_context(functions.running("query", **told))
    stack.enter_context(cores.on(cores.REST))
    connection = stack.enter_context(closing(store.connect()))
    return _Scene(learners, issuer, connection, query, project)


def _until_all(scene: _Scene, listening: Audience, whose: str, learner: str | None) -> Line:
    changed = [learner] if learner else scene.learners
    took = []
    for number in range(_CHANGES):
        projected = scene.change(changed)
        took.append(1_000 * max(0.0, listening.heard(number + 2) - projected))
    return Line(
        f"{_STREAMS} open streams, {whose}: from a change's projection until all are told",
        f"{statistics.median(took):.0f} ms (slowest of {_CHANGES}: {max(took):.0f})",
        "",
        statistics.median(took),
        1_000,
        "ms",
        at_most=True,
    )


def _memory(scene: _Scene) -> Line:
    held = scene.query.memory()
    what = f"memory of query with {_STREAMS} open streams"
    return Line(what, f"{held:.0f} MB", "", held, 250, "MB", at_most=True)


def _cost(scene: _Scene) -> Iterator[Line]:
    rounds = Rounds()
    for number in range(_ROUNDS + 1):
        without = scene.queries()
        with scene.listening():
            among = scene.queries()
        if number:  # the first warms up
            for how, took in (("without", without), ("among", among)):
                rounds.add(f"{how}, median", 1_000 * statistics.median(took))
                rounds.add(f"{how}, p95", 1_000 * statistics.quantiles(took, n=20)[-1])
    for which in ("median", "p95"):
        ours, theirs = f"among, {which}", f"without, {which}"
        yield Line(
            f"queries at {_A_SECOND} a second beside {_STREAMS} open streams: latency, {which}",
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
