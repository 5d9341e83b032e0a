"""The pool never exceeds its size, loses no connection, and lets no caller wait forever."""

import asyncio

import asyncpg
import pytest

from progress.adapters.postgres import shares
from progress.adapters.postgres import url as postgres_url
from progress.adapters.postgres.async_client import Pool
from progress.errors import DatabaseUnavailable, InstanceUnavailable
from tests.conftest import Store
from tests.support.event_loop import in_event_loop

IDLE_S = 300.0


class _Server:
    def __init__(self, url: str) -> None:
        at = postgres_url.parse_url(url)
        self._to = {"host": at.host, "user": at.user, "database": at.database, "ssl": False}
        self.refuses = False

    async def connect(self) -> asyncpg.Connection:
        await asyncio.sleep(0)
        if self.refuses:
            raise OSError("refused")
        return await asyncpg.connect(**self._to)


@pytest.fixture
def server(store: Store) -> _Server:
    return _Server(store.url)


async def _session(pool: Pool, caller: str = "ann") -> int:
    connection = await pool.acquire(caller, seconds=60)
    try:
        session: int = await connection.fetchval("SELECT pg_backend_pid()")
        return session
    finally:
        pool.release(connection)


@in_event_loop
async def test_a_closed_or_failed_connection_is_replaced_by_a_new_one(server: _Server) -> None:
    pool = Pool(server.connect, 1, IDLE_S)
    connection = await pool.acquire("ann", seconds=60)
    waiting = asyncio.create_task(_session(pool))
    await asyncio.sleep(0)
    connection.terminate()
    pool.release(connection)
    async with asyncio.timeout(60):
        first = await waiting
        server.refuses = True
        idle = await pool.acquire("ann", seconds=60)
        idle.terminate()
        pool.release(idle)
        with pytest.raises(OSError, match="refused"):
            await pool.acquire("ann", seconds=60)
        server.refuses = False
        assert await _session(pool) != first
    pool.close()


@in_event_loop
async def test_the_newest_call_of_who_has_most_is_given_up_while_200_wait(server: _Server) -> None:
    pool = Pool(server.connect, 1, IDLE_S)
    connection = await pool.acquire("ann", seconds=60)
    callers = [*["ben"] * 80, *["ann"] * 120]
    waiting = [asyncio.create_task(_session(pool, caller)) for caller in callers]
    await asyncio.sleep(0)
    for number in (199, 198):
        waiting.append(asyncio.create_task(_session(pool, "eve")))
        with pytest.raises(InstanceUnavailable, match="too many calls"):
            await waiting.pop(number)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(_session(pool, "eve")))
    pool.release(connection)
    assert len(set(await asyncio.gather(*waiting))) == 1
    pool.close()


@in_event_loop
async def test_a_caller_that_waits_too_long_is_rejected_and_leaves_the_queue(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "_MAX_OF_CALLER", 1)
    pool = Pool(server.connect, 1, IDLE_S)
    connection = await pool.acquire("ann", seconds=60)
    for _ in range(3):
        with pytest.raises(InstanceUnavailable, match="became free"):
            await pool.acquire("ann", seconds=0.01)
    pool.release(connection)
    assert await pool.acquire("ann", seconds=60) is connection
    pool.release(connection)
    pool.close()


@in_event_loop
async def test_a_call_that_gives_up_lets_another_caller_have_more_than_the_share(
    server: _Server,
) -> None:
    pool = Pool(server.connect, 3, IDLE_S)
    lent = [await pool.acquire(caller, seconds=60) for caller in ("ben", "ben", "ann")]
    waiting, cancelled = (asyncio.create_task(_session(pool, each)) for each in ("ann", "ben"))
    await asyncio.sleep(0)
    pool.release(lent[0])
    await asyncio.sleep(0)
    assert not waiting.done()
    cancelled.cancel()
    async with asyncio.timeout(60):
        assert await waiting
    for connection in lent[1:]:
        pool.release(connection)
    pool.close()


@in_event_loop
async def test_a_closed_pool_rejects_waiting_callers_and_closes_returned_connections(
    server: _Server,
) -> None:
    pool = Pool(server.connect, 1, IDLE_S)
    connection = await pool.acquire("ann", seconds=60)
    waiting, *cancelled = (asyncio.create_task(_session(pool)) for _ in range(3))
    await asyncio.sleep(0)
    cancelled[0].cancel()
    pool.close()
    cancelled[1].cancel()
    with pytest.raises(DatabaseUnavailable):
        await waiting
    for each in cancelled:
        with pytest.raises(asyncio.CancelledError):
            await each
    assert await connection.fetchval("SELECT 1") == 1
    pool.release(connection)
    assert connection.is_closed()
