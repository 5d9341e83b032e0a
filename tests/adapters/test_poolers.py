"""A pooler that does not keep sessions is refused when a process connects, with what to do."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import asyncpg
import pytest

from progress.adapters import startup
from progress.adapters.postgres import database, session_settings
from progress.adapters.postgres.async_client import Database
from progress.errors import DatabaseUnavailable
from tests.conftest import Store, skip_without
from tests.support import cli, pgbouncer
from tests.support.postgres_wire import Wire

Ask = Callable[[str, str], Any]

REFUSAL = "gives each transaction another session.*direct endpoint.*session mode"


def ask_pg8000(url: str, query: str) -> Any:
    with closing(database.connect(url)) as connection:
        return connection.run(query)[0][0]


def ask_asyncpg(url: str, query: str) -> Any:
    async def fetch(session: asyncpg.Connection) -> Any:
        return await session.fetchval(query)

    async def ask() -> Any:
        client = Database(url, name="query", size=1, search_path="event_store")
        try:
            return await client.run(fetch)
        finally:
            await client.close()

    return asyncio.run(ask())


each_driver = pytest.mark.parametrize("ask", [ask_pg8000, ask_asyncpg])


@pytest.fixture
def pool(
    request: pytest.FixtureRequest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    if not pgbouncer.PROGRAM:
        skip_without(request, "pgbouncer")
    monkeypatch.setattr(session_settings, "_kept", set())

    @contextmanager
    def run(mode: str, **options: Any) -> Iterator[str]:
        with pgbouncer.run(store.url, mode, **options) as url:
            yield url

    return run


@pytest.mark.first_in_gate
@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
@each_driver
def test_a_pooler_that_gives_each_transaction_another_session_is_refused(
    pool: Callable[..., Any], ask: Ask, count: int, round_robin: bool
) -> None:
    with pool("transaction", sessions=count, round_robin=round_robin) as url:
        for _ in range(count + 1):  # the later ones find the sessions of the earlier ones
            with pytest.raises(DatabaseUnavailable, match=REFUSAL):
                ask(url, "SELECT 1")


@pytest.mark.parametrize("count", [1, 5])
@each_driver
def test_a_pooler_that_keeps_sessions_is_accepted(
    pool: Callable[..., Any], ask: Ask, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        session_settings, "WAIT_S", 0.2
    )  # a pool of one session has none for the test
    with pool("session", sessions=count) as url:
        for _ in range(2):
            assert ask(url, "SHOW datestyle") == "ISO, YMD"
        assert ask(url, "SHOW search_path") == ("public" if ask is ask_pg8000 else "event_store")


@each_driver
def test_a_pooler_that_rejects_transactions_is_refused(pool: Callable[..., Any], ask: Ask) -> None:
    with pool("statement", sessions=2) as url, pytest.raises(DatabaseUnavailable):
        ask(url, "SELECT 1")


def test_migrate_says_what_to_do(pool: Callable[..., Any]) -> None:
    with pool("transaction", sessions=5) as url:
        cli.expect_failure(cli.progress(url, "migrate"), "another session", "direct endpoint")


def test_a_job_does_not_retry_with_such_a_pooler(
    pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLOUD_RUN_JOB", "progress-batch")
    with pool("transaction", sessions=5) as url, pytest.raises(DatabaseUnavailable, match=REFUSAL):
        startup.connect(url, name="tests")
    assert "connecting again" not in capsys.readouterr().out


@each_driver
def test_a_direct_connection_needs_no_second_one(wire: Wire, ask: Ask) -> None:
    assert ask(wire.url, "SELECT 1") == 1
    assert wire.connections == 1
