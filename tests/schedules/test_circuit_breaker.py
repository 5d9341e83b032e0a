"""The circuit breaker under seeded schedules."""

import asyncio
import random
import time

import pytest

from progress.adapters import request_scope
from progress.adapters.postgres import async_client
from progress.errors import DatabaseUnavailable
from tests.schedules import event_loop
from tests.schedules.event_loop import pause

_CALLERS, _CALLS = 12, 6
_AWAY_S, _BACK_S = 3.0, 1.5


class _Outages:
    """A database that is away, back, away again and back for good; and what the breaker may do."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self._begins = time.monotonic()
        self._probes = 0
        self._closed_at = 0.0
        self._failed: list[float] = []  # when the calls started that have failed
        self.breaker = async_client.CircuitBreaker(self._probe, self._check_opening)

    def _is_away(self) -> bool:
        passed = time.monotonic() - self._begins
        return passed < 2 * _AWAY_S + _BACK_S and not _AWAY_S <= passed < _AWAY_S + _BACK_S

    async def _reach(self) -> None:
        was_away = self._is_away()
        await pause(self.source, 0.8)
        if was_away:
            raise DatabaseUnavailable("away")

    async def _probe(self) -> None:
        self._probes += 1
        assert self._probes == 1, "two probes at once"
        try:
            await self._reach()
            if self.breaker.is_open:
                self._closed_at = time.monotonic()
        finally:
            self._probes -= 1

    def _check_opening(self) -> None:
        recent = [started for started in self._failed if started >= self._closed_at]
        assert len(recent) >= 3, "failures from before the breaker closed open it again"

    async def call(self, scope: request_scope.RequestScope) -> None:
        asked = time.monotonic()
        try:
            if self.breaker.is_open:
                await self.breaker.admit(scope)
        except DatabaseUnavailable:
            waited = time.monotonic() - asked
            assert waited <= 1 + 1e-6, "a rejected call waited longer than a probe"
            return
        started_at = time.monotonic()
        try:
            await self._reach()
        except DatabaseUnavailable:
            self._failed.append(started_at)
            self.breaker.record_failure(started_at=started_at)
        else:
            self._failed.clear()
            if self.breaker.is_open:
                self._closed_at = time.monotonic()
            self.breaker.record_success()


async def _break(source: random.Random) -> None:
    outages = _Outages(source)

    async def call_often() -> None:
        for _ in range(_CALLS):
            await pause(source, 2 * _AWAY_S)
            with request_scope.begin(10) as scope:
                await outages.call(scope)

    await event_loop.gather(source, *(call_often() for _ in range(_CALLERS)), cancelled=0.2)
    await asyncio.sleep(4 * _AWAY_S)
    # The database is back: the next call reaches it, although the breaker may still be open.
    with request_scope.begin(10) as scope:
        await outages.breaker.admit(scope)


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_the_breaker_probes_alone_and_closes_when_the_database_is_back(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _break)
