"""A query of thirty days with seven fields, run by the query function and by graphql-yoga."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from bench import function_client, functions, logs, npm, processes, yoga
from bench.ab_rows import QUERY
from bench.lines import Line, Rounds
from bench.request_batch import RequestBatch, send
from bench.server import Server, Store

_LEARNERS = 1_500  # enough that no learner's requests reach the rate limit
_DAYS, _RANGE = 60, 30
_REQUESTS = 4_000  # requests to each server in a round
_ROUNDS = 9
_CACHED = 1_000  # learners whose results are cached
_NAMED = QUERY.replace("Days(", "Days($userId: ID!, ").replace("Stats(", "Stats(userId: $userId, ")


@dataclass(frozen=True)
class _Contenders:
    """The data of the benchmark, and the ports of the three servers.

    `ours` is the query function. `full` is a yoga server that does the same work. `bare` is a yoga
    server without authentication, rate limit and cache.
    """

    store: Store
    learners: list[str]
    ours: int
    full: int
    bare: int

    def questions(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs of requests: one with a learner's token, then one for bare yoga."""
        for back, learner in itertools.product(range(_DAYS - _RANGE + 1), self.learners):
            to = logs.last_day() - timedelta(days=back)
            span = {"from": to - timedelta(days=_RANGE - 1), "to": to}
            named = {"query": _NAMED, "variables": {"userId": learner, **span}}
            yield (
                function_client.encode_query(QUERY, learner, span),
                function_client.encode_post(named, "/graphql"),
            )


def measure_misses(server: Server) -> Iterator[Line]:
    """Measure cache misses, and PostgreSQL's CPU time for these misses."""
    rounds = _misses(server)
    for what, theirs, against, bar in (
        (
            "a miss: 30 daily rows × 7 fields, one core",
            "yoga full",
            "yoga with pg, same work",
            1.45,
        ),
        ("the same miss", "yoga bare", "bare yoga with pg", 1.05),
    ):
        yield rounds.compare_rates(what, "ours", theirs, against=against, bar=bar, of="requests")
    yield rounds.compare_costs(
        "PostgreSQL's time for that miss",
        "ours, database",
        "yoga full, database",
        against="yoga's:",
        bar=1.1,
        unit="µs",
    )


def _misses(server: Server) -> Rounds:
    """Return the requests per second, and PostgreSQL's CPU time per request in microseconds."""
    rounds = Rounds()
    with _running(server) as of:
        source = of.questions()
        _compare(of, *next(source))
        # The first two rounds are a warm-up, in which every token is verified once.
        for number in range(_ROUNDS + 2):
            pairs = list(itertools.islice(source, _REQUESTS))
            of_caller, named = [request for request, _ in pairs], [request for _, request in pairs]
            for name, batch in (
                ("ours", RequestBatch(of.ours, of_caller, b'"MISS"')),
                ("yoga full", RequestBatch(of.full, of_caller)),
                ("yoga bare", RequestBatch(of.bare, named)),
            ):
                before, took = of.store.cpu_microseconds(), send(batch)
                if number > 1:
                    rounds.add(name, _REQUESTS / took)
                    spent = of.store.cpu_microseconds() - before
                    rounds.add(f"{name}, database", spent / _REQUESTS)
    return rounds


def measure_hits(server: Server) -> Iterator[Line]:
    """Compare cache hits with bare yoga, which has no cache."""
    rounds = Rounds()
    with _running(server) as of:
        source = of.questions()
        cached = [request for request, _ in itertools.islice(source, _CACHED)]
        for number in range(_ROUNDS + 2):
            misses = [request for _, request in itertools.islice(source, _REQUESTS)]
            send(RequestBatch(of.ours, cached))  # an entry lives for some minutes
            hits = send(RequestBatch(of.ours, cached * (_REQUESTS // _CACHED), b'"HIT"'))
            bare = send(RequestBatch(of.bare, misses))
            if number > 1:
                rounds.add("hit", _REQUESTS / hits)
                rounds.add("yoga bare", _REQUESTS / bare)
    what, against = "a cache hit of the same query, one core", "a miss of bare yoga:"
    yield rounds.compare_rates(what, "hit", "yoga bare", against=against, bar=1.4, of="requests")


@contextlib.contextmanager
def _running(server: Server) -> Iterator[_Contenders]:
    """Run the three servers on one core, and the databases and the client on the other core."""
    npm.install(yoga.FOLDER)
    store = server.create_store()
    learners = logs.fill_studies(store, learners=_LEARNERS, days=_DAYS, answers=2, fresh=1)
    with (
        functions.run_query(server, store) as ours,
        processes.use_cores(processes.MEASURED),
        yoga.run("full", store, **ours.environment) as full,
        yoga.run("bare", store) as bare,
        processes.use_cores(processes.REST),
    ):
        yield _Contenders(store, learners, ours.port, full, bare)
    server.drop(store)


def _compare(of: _Contenders, own: bytes, named: bytes) -> None:
    """Assert that all three servers return the same thirty rows."""
    ours, full, bare = (
        msgspec.json.decode(function_client.fetch(port, request))["data"]
        for port, request in ((of.ours, own), (of.full, own), (of.bare, named))
    )
    assert ours == full == bare, (ours, full, bare)
    assert len(ours["dailyStats"]) == _RANGE, ours
