"""The time from a function's start to its first response, compared with an empty function."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench import function_client, functions, load, logs, publisher, valkey
from bench.function_client import Issuer
from bench.lines import Line, Rounds
from bench.server import Server, Store

_ROUNDS = 9
_QUESTION = "{ userProgress { totalItemsLearned currentStreak accuracyRate } }"


def compare_with_empty(server: Server) -> Iterator[Line]:
    """Measure how long `ingest`, `project` and `query` take from start to first response."""
    store, rounds = server.create_store(), Rounds()
    logs.fill(store, learners=190, sessions=1)  # so few that each shard's events fit in one window
    with ExitStack() as stack:
        commands = stack.enter_context(publisher.run())
        issuer = stack.enter_context(function_client.serve_issuer())
        redis = stack.enter_context(valkey.run())
        urls = {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": commands, "REDIS_URL": redis}
        environment = urls | issuer.environment
        for number in range(_ROUNDS + 1):
            for name, request in _requests(store, issuer, number):
                seconds = _time_start(name, request, environment)
                if number:
                    rounds.add(name, 1_000 * seconds)
    server.drop(store)
    for name, what, against, bar in (
        ("ingest", "first event recorded and its wake-up sent", "empty", 3.0),
        ("project", "first window folded", "empty", 2.5),
        ("query", "first answer", "empty ASGI", 3.0),
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
    yield "empty", function_client.encode_wake_up(0)
    yield "ingest", next(load.pushes(1, number))
    yield "project", function_client.encode_wake_up(number)
    yield "empty ASGI", function_client.encode_wake_up(0)
    yield "query", issuer.encode_query(_QUESTION, logs.learners(store, events=1)[0])


def _time_start(name: str, request: bytes, environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    with functions.start(name, **environment) as function:
        function_client.fetch_first(function.port, request)
        return time.perf_counter() - begin
