"""Shared computations, and the versions of the cache, under seeded schedules."""

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from progress.adapters import request_scope
from progress.errors import DeadlineExceeded, Unavailable
from progress.query.cache import single_flight, versions
from tests.schedules import event_loop, planted
from tests.schedules.event_loop import pause

_CALLERS, _MAX_AGE_S = 10, 1.0


class _Failed(Unavailable):
    """The computation failed."""


def schedule(module: ModuleType, seed: int) -> event_loop.SeededLoop:
    return event_loop.run(seed, lambda source: _share(module, source))


async def _share(module: ModuleType, source: random.Random) -> None:
    flights = module.SingleFlight(_MAX_AGE_S)

    async def compute() -> float:
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(request_scope.current().remaining()):
                await pause(source, 1.5)
                if source.random() > 0.2:
                    return began
        raise _Failed("the database does not respond")

    async def call() -> None:
        await pause(source, 2)
        with request_scope.begin(source.uniform(0.5, 4)) as scope:
            asked = time.monotonic()
            try:
                began = await flights.join("key", compute)
            except (_Failed, DeadlineExceeded):
                return
            finally:
                late = time.monotonic() - scope.deadline
                assert late <= 1e-6, "a caller waited beyond its deadline"
            assert began > asked - _MAX_AGE_S, "a result from before the caller's last second"

    callers = [asyncio.create_task(call()) for _ in range(_CALLERS)]
    for caller in callers:
        if source.random() < 0.3:
            await pause(source, 1)
            caller.cancel()
    event_loop.raise_first(await asyncio.gather(*callers, return_exceptions=True))
    assert flights.in_progress("key") is None, "a computation that has ended is still joined"


@pytest.mark.parametrize("seeds", planted.CHUNKS)
def test_a_shared_computation_is_recent_and_each_caller_gets_an_outcome(seeds: range) -> None:
    for seed in seeds:
        schedule(single_flight, seed)


_RACES = {
    "a cancelled computation fails nobody": (
        """        except BaseException as error:
            self._remove(key, flight)
            flight.fail(error)
            raise
""",
        """        except Exception as error:
            self._remove(key, flight)
            flight.fail(error)
            raise
""",
    ),
    "a computation is joined however old it is": (
        "if flight is None or time.monotonic() - flight.started_at >= self._max_age:",
        "if flight is None:",
    ),
    "an older computation removes a newer one": (
        """        if self._flights.get(key) is flight:
            del self._flights[key]
""",
        "        del self._flights[key]\n",
    ),
    "a result is set for a caller that has gone": (
        """    def resolve(self, result: T) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(result)
""",
        """    def resolve(self, result: T) -> None:
        for waiter in self._waiters:
            waiter.set_result(result)
""",
    ),
    "the caller's deadline is forgotten": (
        "        if scope.deadline >= self.deadline:\n            return await waiter\n",
        "        if scope.deadline:\n            return await waiter\n",
    ),
}


@pytest.mark.parametrize("race", _RACES)
def test_each_planted_race_of_shared_computations_is_found_and_repeats(race: str) -> None:
    with planted.plant(single_flight, _RACES[race]) as module:
        planted.find_seed(lambda seed: schedule(module, seed))


class _Reader:
    """The versions of a database in which everything rises with time; a read takes some time."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    async def fetch(self, _file: str, block: str, **_values: Any) -> list[dict[str, Any]]:
        await pause(self._source, 0.6)
        version = int(1_000 * time.monotonic())  # what the statement sees
        await pause(self._source, 0.6)
        if block == "learner":
            ever, never = (datetime(year, 1, 1, tzinfo=UTC) for year in (1, 9999))
            day = {"day_begins": ever, "day_ends": never}
            return [{"learner": version, "is_known": True, **day}]
        names = ("schema", "catalogue", "batch", "position")
        return [{**dict.fromkeys(names, version), "recorded_at": None}]


def schedule_versions(module: ModuleType, seed: int) -> None:
    event_loop.run(seed, lambda source: _read_versions(module, source))


async def _read_versions(module: ModuleType, source: random.Random) -> None:
    read, at = module.DatabaseVersions(_Reader(source)), datetime(2024, 1, 1, tzinfo=UTC)

    async def call() -> None:
        last = 0
        for _ in range(4):
            await pause(source, 1)
            asked = time.monotonic()
            learner = await read.fetch_learner("ann", at, since=asked)
            assert learner.version >= int(1_000 * asked), "a version from before the question"
            shared = await read.fetch_shared_versions(since=asked)
            assert shared.position >= int(1_000 * asked), "a position from before the question"
            assert shared.position >= last, "the position goes back"
            last = shared.position

    callers = [asyncio.create_task(call()) for _ in range(4)]
    event_loop.raise_first(await asyncio.gather(*callers, return_exceptions=True))


@pytest.mark.parametrize("seeds", planted.CHUNKS)
def test_versions_are_read_after_they_were_asked_for(seeds: range) -> None:
    for seed in seeds:
        schedule_versions(versions, seed)


_OLD_VERSIONS = {
    "a joined read that began too early is returned": (
        "            if learner.known_at >= since and learner.is_same_day(at):\n",
        "            if learner.is_same_day(at):\n",
    ),
    "the time of a read is taken after it": (
        """            known_at = time.monotonic()
            (row,) = await self._reader.fetch(
                "projections/versions", "learner", user_id=user_id, now=at
            )
""",
        """            (row,) = await self._reader.fetch(
                "projections/versions", "learner", user_id=user_id, now=at
            )
            known_at = time.monotonic()
""",
    ),
}


@pytest.mark.parametrize("race", _OLD_VERSIONS)
def test_each_planted_old_version_is_found_and_repeats(race: str) -> None:
    with planted.plant(versions, _OLD_VERSIONS[race]) as module:
        planted.find_seed(lambda seed: schedule_versions(module, seed))
