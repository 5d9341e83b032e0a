"""Shared computations, and the versions of the cache, under seeded schedules."""

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from progress.adapters import request_scope
from progress.errors import DeadlineExceeded, Unavailable
from progress.query.cache import single_flight, versions
from tests.schedules import event_loop
from tests.schedules.event_loop import pause

_CALLERS, _MAX_AGE_S = 10, 1.0


class _Failed(Unavailable):
    """The computation failed."""


async def _share(source: random.Random) -> None:
    flights: single_flight.SingleFlight[float] = single_flight.SingleFlight(_MAX_AGE_S)

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


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_a_shared_computation_is_recent_and_each_caller_gets_an_outcome(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _share)


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


async def _read_versions(source: random.Random) -> None:
    reader: Any = _Reader(source)
    read, at = versions.DatabaseVersions(reader), datetime(2024, 1, 1, tzinfo=UTC)

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


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_versions_are_read_after_they_were_asked_for(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _read_versions)
