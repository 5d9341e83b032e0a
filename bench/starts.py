"""From the start of a function's process to its first answer, against an empty function."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench import asking, functions, load, logs, publisher, valkey
from bench.asking import Issuer
from bench.lines import Line, Rounds
from bench.server import Server, Store

_ROUNDS = 9
_QUESTION = "{ userProgress { totalItemsLearned currentStreak accuracyRate } }"


def against_empty(server: Server) -> Iterator[Line]:
    """Ingest with its first event on disk, project with a window folded, query with an answer."""
    store, rounds = server.store(), Rounds()
    logs.fill(store, learners=190, sessions=1)  # less than a window for each shard
    with ExitStack() as stack:
        commands = stack.enter_context(publisher.running())
        issuer = stack.enter_context(asking.issuer())
        redis = stack.enter_context(valkey.running())
        told = {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": commands, "REDIS_URL": redis}
        told |= issuer.environment
        for number in range(_ROUNDS + 1):
            for name, request in _requests(store, issuer, number):
                seconds = _start(name, request, told)
                if number:
                    rounds.add(name, 1_000 * seconds)
    server.drop(store)
    for name, what, against, bar in (
        ("ingest", "first event on disk, its wake-up sent", "empty", 2.5),
        ("project", "first window folded", "empty", 1.6),
        ("query", "first answer", "empty ASGI", 2.5),
    ):
        yield Line(
            f"start of {name}: {what}",
            f"{rounds.median(name):.0f} ms",
            f"{against}: {rounds.median(against):.0f} ms",
            rounds.ratio(name, against),
            bar,
            at_most=True,
        )


def _requests(store: Store, issuer: Issuer, number: int) -> Iterator[tuple[str, bytes]]:
    yield "empty", asking.wake_up(0)
    yield "ingest", next(load.pushes(1, number))
    yield "project", asking.wake_up(number)
    yield "empty ASGI", asking.wake_up(0)
    yield "query", issuer.question(_QUESTION, logs.learners(store, events=1)[0])


def _start(name: str, request: bytes, told: dict[str, str]) -> float:
    begin = time.perf_counter()
    with functions.started(name, **told) as function:
        asking.first_answer(function.port, request)
        return time.perf_counter() - begin
