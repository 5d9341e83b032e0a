"""The circuit breaker opens when the database fails, and closes when the database recovers.

A statement that the database rejects is no failure of the database.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from progress.adapters import request_scope
from progress.adapters.postgres import async_client
from progress.adapters.postgres.async_client import Database
from progress.errors import DatabaseUnavailable, StatementFailed, StatementTimedOut
from tests.support.event_loop import in_event_loop
from tests.support.postgres_wire import Wire

SHORT = 0.2  # seconds
LONG = 60.0


def closing(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    async def run(*, database: Database, **fixtures: Any) -> None:
        await test(database=database, **fixtures)
        await database.close()

    return in_event_loop(run)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the pauses before probes very long; a test that needs a probe shortens the pauses."""
    monkeypatch.setattr(async_client, "_FIRST_PAUSE_S", LONG)
    monkeypatch.setattr(async_client, "_PAUSE_S", LONG)
    monkeypatch.setattr(async_client, "_MIN_TIME_S", 0)
    return monkeypatch


@pytest.fixture
def database(wire: Wire) -> Database:
    return Database(wire.url, name="query", size=3, search_path="event_store")


async def select(session: asyncpg.Connection) -> Any:
    return await session.fetchval("SELECT 1", timeout=request_scope.current().remaining())


async def ask(database: Database, seconds: float = LONG, caller: str = "") -> Any:
    with request_scope.begin(seconds, caller):
        return await database.run(select)


async def fail(database: Database, times: int, seconds: float = LONG) -> None:
    for _ in range(times):
        with pytest.raises(DatabaseUnavailable):
            await ask(database, seconds)


async def open_breaker(database: Database, seconds: float = LONG) -> None:
    """Fail three times, and wait for the probe, which fails, too."""
    await fail(database, 3, seconds)
    while not database._breaker.is_open:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("fault", ["refuses", "hangs", "loses_requests"])
@pytest.mark.usefixtures("pauses")
@closing
async def test_after_three_failures_calls_are_rejected_without_an_attempt_to_connect(
    wire: Wire, database: Database, fault: str
) -> None:
    if fault != "refuses":  # a timeout counts, too
        assert await ask(database) == 1
    setattr(wire, fault, True)
    await open_breaker(database, LONG if fault == "refuses" else SHORT)
    before, began = wire.connections, time.monotonic()
    await fail(database, 100)
    assert time.monotonic() - began < 100 * 0.05
    assert wire.connections == before


@pytest.mark.usefixtures("pauses")
@closing
async def test_timeouts_of_one_caller_reject_nobody_if_a_new_session_opens(
    wire: Wire, database: Database
) -> None:
    for _ in range(3):
        with request_scope.begin(SHORT, "eve"), pytest.raises(StatementTimedOut):
            await database.run(lambda session: session.fetch("SELECT pg_sleep(60)", timeout=SHORT))
    before = wire.connections
    while database._breaker.failures:
        assert await ask(database) == 1
        assert not database._breaker.is_open
    assert wire.connections >= before


@closing
async def test_a_call_that_times_out_in_less_than_a_second_does_not_count_as_a_failure(
    wire: Wire, database: Database
) -> None:
    wire.hangs = True
    await fail(database, 4, SHORT)
    wire.hangs = False
    assert await ask(database) == 1


@closing
async def test_all_calls_of_the_request_that_probes_the_database_are_served(
    wire: Wire, database: Database, pauses: pytest.MonkeyPatch
) -> None:
    pauses.setattr(async_client, "_FIRST_PAUSE_S", 0)
    wire.refuses = True
    await open_breaker(database)
    wire.refuses = False
    with request_scope.begin(LONG):
        assert await asyncio.gather(*(database.run(select) for _ in range(3))) == [1, 1, 1]
    assert await ask(database) == 1


@closing
async def test_a_call_of_another_request_does_not_wait_for_the_probe(
    wire: Wire, database: Database, pauses: pytest.MonkeyPatch
) -> None:
    pauses.setattr(async_client, "_FIRST_PAUSE_S", 0)
    wire.refuses = True
    await open_breaker(database)
    wire.refuses, wire.hangs = False, True
    probing = asyncio.create_task(ask(database))
    await asyncio.sleep(0)
    await fail(database, 1)
    assert not probing.done()
    probing.cancel()
    await asyncio.wait({probing})


@closing
async def test_calls_that_hang_or_wait_do_not_delay_new_calls_after_the_recovery(
    wire: Wire, database: Database, pauses: pytest.MonkeyPatch
) -> None:
    pauses.setattr(async_client, "_FIRST_PAUSE_S", 0)
    database._size = 4
    assert await ask(database) == 1
    wire.hangs = True
    hanging = asyncio.create_task(ask(database, LONG, "ann"))
    failing = [asyncio.create_task(fail(database, 1, SHORT)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(ask(database, LONG, str(n))) for n in range(4)]
    await asyncio.gather(*failing)
    async with asyncio.timeout(30):
        # The last waiting call is rejected. The first three waiting calls may replace the sessions
        # of the failed calls by new sessions, which hang.
        with pytest.raises(DatabaseUnavailable):
            await waiting.pop()
        wire.hangs = False
        assert await ask(database) == 1
    assert not hanging.done()
    for call in (hanging, *waiting):
        call.cancel()
    await asyncio.wait({hanging, *waiting})


def test_clients_are_told_to_retry_no_earlier_than_the_next_probe() -> None:
    assert async_client._FIRST_PAUSE_S <= async_client._PAUSE_S
    assert DatabaseUnavailable.retry_after_s >= async_client._PAUSE_S


@closing
async def test_a_rejected_statement_is_not_retried_and_its_session_is_reused(
    database: Database,
) -> None:
    pids: list[int] = []

    async def record(session: asyncpg.Connection) -> None:
        pids.append(session.get_server_pid())
        await session.fetch("SELECT 1 / 0")

    for count in (1, 2):
        with (
            request_scope.begin(LONG),
            pytest.raises(StatementFailed, match=r"^division by zero$") as raised,
        ):
            await database.run(record)
        assert raised.value.sqlstate == "22012"
        assert len(pids) == count
    assert len(set(pids)) == 1


@closing
async def test_a_value_that_cannot_be_decoded_is_no_outage(database: Database) -> None:
    async def read_unknown_type(session: asyncpg.Connection) -> None:
        await session.fetch("SELECT ROW(ARRAY[TRUE])")

    for _ in range(5):  # more failures than open the breaker
        with request_scope.begin(LONG), pytest.raises(StatementFailed, match="decode"):
            await database.run(read_unknown_type)
    assert await ask(database) == 1


@closing
async def test_a_statement_is_repeated_on_a_new_session_if_the_session_is_read_only(
    database: Database,
) -> None:
    pids: list[int] = []
    both = asyncio.Barrier(2)

    async def become_read_only(session: asyncpg.Connection) -> None:
        await both.wait()  # each call has a session of its own
        await session.execute("SET default_transaction_read_only = on")

    async def write(session: asyncpg.Connection) -> None:
        pids.append(session.get_server_pid())
        await session.execute("CREATE SCHEMA written")
        await session.execute("DROP SCHEMA written")

    with request_scope.begin(LONG):
        await asyncio.gather(*(database.run(become_read_only) for _ in range(2)))
        await database.run(write)
    assert len(set(pids)) == len(pids) == 2


def test_closing_ends_calls_that_an_event_loop_would_cancel_at_its_end(
    wire: Wire, database: Database
) -> None:
    calls: list[asyncio.Task[Any]] = []
    begun = asyncio.Semaphore(0)

    async def work(session: asyncpg.Connection) -> Any:
        begun.release()
        await session.fetch("SELECT pg_sleep(60)")

    async def leave() -> None:
        for _ in range(2):
            calls.append(asyncio.create_task(database.run(work)))
            await begun.acquire()
        await database.close()
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await ask(database)

    asyncio.run(leave())
    for call in calls:
        assert isinstance(call.exception(), DatabaseUnavailable)
