"""Shared computations, and the position of the projections, under seeded schedules."""

import asyncio
import contextlib
import random
import time
from typing import Any

import pytest

from progress.adapters import request_scope
from progress.errors import DeadlineExceeded, Unavailable
from progress.query.cache import single_flight, versions
from tests.schedules import event_loop
from tests.schedules.event_loop import pause

_CALLERS = 10


class _Failed(Unavailable):
    """The computation failed."""


class _Late(Unavailable):
    """The computation did not end before the deadline of the caller who began it."""


async def _share(source: random.Random) -> None:
    flights: single_flight.SingleFlight[float] = single_flight.SingleFlight()

    async def compute() -> float:
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(request_scope.current().remaining()):
                await pause(source, 1.5)
                if source.random() > 0.2:
                    return began
                raise _Failed("the database does not respond")
        raise _Late

    async def call() -> None:
        await pause(source, 2)
        with request_scope.begin(source.uniform(0.5, 4)) as scope:
            asked = time.monotonic()
            try:
                began = await flights.join("key", compute, since=asked)
            except (_Failed, DeadlineExceeded):
                return
            except _Late:
                early = scope.deadline - time.monotonic() - single_flight.MAX_LEAD_S
                assert early <= 1e-6, "a caller fails long before its deadline, by another one's"
                return
            finally:
                late = time.monotonic() - scope.deadline
                assert late <= 1e-6, "a caller waited beyond its deadline"
            assert began >= asked, "a result from before the question"

    await event_loop.gather(source, *(call() for _ in range(_CALLERS)), cancelled=0.3)
    assert flights.in_progress("key", 0) is None, "a computation that has ended is still joined"


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_a_shared_computation_is_recent_and_each_caller_gets_an_outcome(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _share)


class _Reader:
    """The position of a database, which rises with time; a read takes some time."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    async def fetch(self, *_block: str) -> list[dict[str, Any]]:
        await pause(self._source, 0.6)
        position = int(1_000 * time.monotonic())  # what the statement sees
        await pause(self._source, 0.6)
        return [{"position": position, "recorded_at": None}]


async def _read_positions(source: random.Random) -> None:
    reader: Any = _Reader(source)
    read = versions.DatabaseVersions(reader)

    async def call() -> None:
        last = 0
        for _ in range(4):
            await pause(source, 1)
            asked = time.monotonic()
            position = (await read.fetch_position(since=asked)).position
            assert position >= int(1_000 * asked), "a position from before the question"
            assert position >= last, "the position goes back"
            last = position

    await event_loop.gather(source, *(call() for _ in range(4)))


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_a_position_is_read_after_it_was_asked_for(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _read_positions)
