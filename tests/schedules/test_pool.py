"""The pool of connections under seeded schedules."""

import asyncio
import random

import pytest

from progress.adapters.postgres import async_client
from progress.errors import InstanceUnavailable
from tests.schedules import event_loop
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


async def _use_pool(source: random.Random) -> None:
    server = _Server(source)
    pool = async_client.Pool(server.connect, _SIZE, 1.0)
    callers = (_call(pool, source, "abc"[n % 3]) for n in range(_CALLERS))
    await event_loop.gather(source, *callers, cancelled=0.3, seconds=0.5)
    await asyncio.sleep(10)  # until the cancelled statements have ended
    # No place is lost: as many callers as the pool has places get a connection at once.
    server.source = random.Random(1)  # from now on, nothing is refused
    server.source.random = lambda: 1.0  # type: ignore[method-assign]
    await asyncio.gather(*(pool.acquire(str(n), seconds=1) for n in range(_SIZE)))


async def _call(pool: async_client.Pool, source: random.Random, caller: str) -> None:
    await pause(source, 0.5)
    try:
        connection = await pool.acquire(caller, seconds=source.choice((0.05, 0.5, 5)))
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


@pytest.mark.parametrize("seeds", event_loop.CHUNKS)
def test_the_pool_lends_each_connection_once_and_loses_no_place(seeds: range) -> None:
    for seed in seeds:
        event_loop.run(seed, _use_pool)
