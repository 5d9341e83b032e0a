"""Tests of the asyncpg client with statements that the server rejects."""

import asyncio
from typing import Any

import asyncpg
import pytest

from progress.adapters import request_scope
from progress.adapters.postgres import async_client
from progress.adapters.postgres.async_client import Database
from progress.errors import StatementFailed
from tests.conftest import Store

_DIVISION = "SELECT 1 / 0"


def _ask(database: Database, work: Any) -> Any:
    async def ask() -> Any:
        with request_scope.begin(20):
            return await database.run(work)

    return ask()


@pytest.fixture
def database(store: Store) -> Database:
    """A database client with a single session."""
    return Database(store.url, name="query", size=1, search_path="event_store")


def test_a_rejected_statement_is_not_retried_and_its_session_is_reused(database: Database) -> None:
    pids: list[int] = []

    async def divide(session: asyncpg.Connection) -> None:
        pids.append(session.get_server_pid())
        await session.fetch(_DIVISION)

    async def ask() -> None:
        for count in (1, 2):
            with pytest.raises(StatementFailed, match=r"^division by zero$") as raised:
                await _ask(database, divide)
            assert raised.value.sqlstate == "22012"
            assert len(pids) == count
        database.close()

    asyncio.run(ask())
    assert len(set(pids)) == 1


def test_a_rejected_statement_ends_the_snapshot_transaction_that_it_runs_in(
    database: Database,
) -> None:
    async def divide(session: asyncpg.Connection) -> None:
        async with async_client.snapshot(session):
            await session.fetch(_DIVISION)

    async def read(session: asyncpg.Connection) -> tuple[bool, int]:
        return session.is_in_transaction(), await session.fetchval("SELECT 1")

    async def ask() -> None:
        with pytest.raises(StatementFailed):
            await _ask(database, divide)
        assert await _ask(database, read) == (False, 1)
        database.close()

    asyncio.run(ask())
