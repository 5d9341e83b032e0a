"""The pool of connections under seeded schedules."""

import asyncio
import random
from types import ModuleType

import pytest

from progress.adapters.postgres import async_client
from progress.errors import InstanceUnavailable
from tests.schedules import event_loop, planted
from tests.schedules.event_loop import pause

_SIZE, _CALLERS = 3, 12


class _Server:
    """Counts the open connections; opening one takes time, and may fail."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.open: set[_Connection] = set()
        self.opening = 0

    async def connect(self) -> "_Connection":
        self.opening += 1
        self.check()
        try:
            await pause(self.source, 0.3)
            if self.source.random() < 0.1:
                raise OSError("refused")
        finally:
            self.opening -= 1
        return _Connection(self)

    def check(self) -> None:
        assert len(self.open) + self.opening <= _SIZE, "more connections than the pool's size"


class _Connection:
    def __init__(self, server: _Server) -> None:
        self.server, self.is_lent = server, False
        server.open.add(self)
        server.check()

    def is_closed(self) -> bool:
        return self not in self.server.open

    def terminate(self) -> None:
        self.server.open.discard(self)

    async def close(self) -> None:
        await pause(self.server.source, 3)
        self.terminate()


def schedule(module: ModuleType, seed: int) -> event_loop.SeededLoop:
    return event_loop.run(seed, lambda source: _use_pool(module, source))


async def _use_pool(module: ModuleType, source: random.Random) -> None:
    server = _Server(source)
    pool = module.Pool(server.connect, _SIZE, 1.0)
    callers = [asyncio.create_task(_call(pool, source)) for _ in range(_CALLERS)]
    for caller in callers:
        if source.random() < 0.3:
            await pause(source, 0.5)
            caller.cancel()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    event_loop.raise_first(ended)
    await asyncio.sleep(10)  # until the cancelled statements have ended
    # No place is lost: as many callers as the pool has places get a connection at once.
    server.source = random.Random(1)  # from now on, nothing is refused
    server.source.random = lambda: 1.0  # type: ignore[method-assign]
    await asyncio.gather(*(pool.acquire(seconds=1) for _ in range(_SIZE)))


async def _call(pool: "async_client.Pool", source: random.Random) -> None:
    await pause(source, 0.5)
    try:
        connection = await pool.acquire(seconds=source.choice((0.05, 0.5, 5)))
    except (InstanceUnavailable, TimeoutError, OSError):
        return
    assert not connection.is_lent, "two callers have the same connection"
    connection.is_lent, take_back = True, pool.cancel
    try:
        await pause(source, 0.4)
        take_back = source.choice((pool.release, pool.release, pool.discard))
    finally:
        connection.is_lent = False
        take_back(connection)


@pytest.mark.parametrize("seeds", planted.CHUNKS)
def test_the_pool_lends_each_connection_once_and_loses_no_place(seeds: range) -> None:
    for seed in seeds:
        schedule(async_client, seed)


_RACES = {
    "a cancelled waiter keeps the connection it was given": (
        "                self._pass_on(waiter.result())\n",
        "                pass\n",
    ),
    "a waiter that gave up gets the connection": (
        """            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
""",
        """            waiter = self._waiting.popleft()
            if not waiter.cancelled():
                waiter.set_result(connection)
                return
            return
""",
    ),
    "a failed opening loses the place": (
        "            on_failure.callback(self._free_place)\n",
        "",
    ),
    "a cancelled statement's place is given away before its connection is closed": (
        "        closing = asyncio.create_task(self._cancel_and_close(connection))\n",
        """        self._free_place()
        closing = asyncio.create_task(self._cancel_and_close(connection))
""",
    ),
    "a discarded connection's place goes to nobody": (
        """        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
""",
        """        if self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
            return
        self._free += 1
""",
    ),
}


@pytest.mark.parametrize("race", _RACES)
def test_each_planted_race_of_the_pool_is_found_and_repeats(race: str) -> None:
    with planted.plant(async_client, _RACES[race]) as module:
        planted.find_seed(lambda seed: schedule(module, seed))
