"""`progress serve` has its database for itself, waits for it, and counts its connections."""

import asyncio
import contextlib
import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import gunicorn.config  # type: ignore[import-untyped] # it ships no types
import pytest

from progress.adapters.postgres import database
from progress.adapters.pubsub import loopback
from progress.errors import DatabaseUnavailable, SettingsError, StackError
from progress.projections import turns
from progress.serve import own_database, ports
from progress.serve.own_database import Lock
from progress.settings import Settings
from tests.conftest import Store
from tests.support import folders
from tests.support.postgres_servers import OwnServer, url_of

HERE = Path("/var/lib/progress")
ADMITS = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
HOLDERS = """SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND objid::bigint = hashtextextended('progress.serve', 0) & 4294967295"""


def test_a_start_waits_for_the_database_and_a_dead_host_has_the_lock_for_10_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def start(server: OwnServer) -> list[int]:
        port = ports.reserve()
        lock = Lock(f"postgresql://postgres@127.0.0.1:{port}/postgres", HERE)
        taking = asyncio.create_task(lock.take())
        while not caplog.text:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start, "listen_addresses=127.0.0.1", port=port)
        await taking
        assert lock._session
        names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "user_timeout")
        shown = "SELECT current_setting('tcp_' || $1)::int"
        values = [await lock._session.fetchval(shown, name) for name in names]
        ours = lock._session._transport.get_extra_info("socket")
        options = (getattr(socket, option) for option in own_database._OPTIONS)
        assert [ours.getsockopt(socket.IPPROTO_TCP, option) for option in options] == values
        lock.release()
        return values

    with folders.create("test") as folder, caplog.at_level(logging.WARNING):
        server = OwnServer(folder, admits=ADMITS)
        idle, interval, count, user_timeout = asyncio.run(start(server))
        server.stop()
    assert max(idle + interval * count, user_timeout / 1_000) < 10
    assert "waiting for the database: no connection to postgres@127.0.0.1" in caplog.text


def test_one_system_has_the_database_and_takes_a_lost_lock_again(
    store: Store, connection: database.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose() -> None:
        (before,) = connection.run(HOLDERS)
        connection.run("SELECT pg_terminate_backend(:pid)", pid=before[0])
        async with asyncio.timeout(60):
            while connection.run(HOLDERS) in ([], [before]):
                await asyncio.sleep(0.01)

    async def run() -> None:
        first, second = Lock(store.url, HERE), Lock(store.url, Path("/srv/two"))
        await first.take()
        name = rf"{socket.gethostname()[:20]}:{HERE}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        with monkeypatch.context() as patch:
            patch.setattr(own_database, "_PATIENCE_S", 0)
            with pytest.raises(StackError, match=f"serve` of {name}, serves this database"):
                await second.take()
        keeping = asyncio.create_task(first.keep())
        await lose()
        monkeypatch.setattr(first, "_url", url_of(store.url, "nobody"))
        waiting = asyncio.create_task(second.take())
        await lose()
        await waiting
        with pytest.raises(DatabaseUnavailable, match="nobody"):
            await keeping
        second.release()

    asyncio.run(run())


def test_a_system_waits_for_a_database_that_is_away_for_longer_than_for_another_system(
    bare_server: OwnServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(own_database, "_PATIENCE_S", 0)

    async def run() -> None:
        lock = Lock(bare_server.url, HERE)
        await lock.take()
        keeping = asyncio.create_task(lock.keep())
        await asyncio.to_thread(bare_server.stop)
        async with asyncio.timeout(60):
            while "waiting for the database" not in caplog.text:
                assert not keeping.done(), keeping.exception()
                await asyncio.sleep(0.01)
            await asyncio.to_thread(bare_server.start)
            with contextlib.closing(database.connect(bare_server.url)) as connection:
                while not connection.run(HOLDERS):
                    await asyncio.sleep(0.01)
        keeping.cancel()
        lock.release()

    asyncio.run(run())


def test_a_login_that_the_database_refuses_ends_the_system(store: Store) -> None:
    with pytest.raises(StackError, match=r"local_nobody.*a new start mends it"):
        asyncio.run(own_database.watch_logins([store.url, url_of(store.url, "nobody")]))


@pytest.mark.parametrize(("admitted", "workers"), [(24, 1), (31, 1), (33, 3), (200, 4)])
def test_all_functions_and_commands_have_a_place(
    store: Store, connection: database.Connection, admitted: int, workers: int
) -> None:
    name, settings = urlsplit(store.url).path[1:], Settings(workers=workers)
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT {admitted}")
    pools, wakes = own_database.share(connection, settings)
    query = workers * (sum(map(int, pools.values())) + 1)
    fixed = own_database._OWNER + own_database._OTHERS + 2 * turns.OPERATIONS
    assert query + fixed + wakes <= min(admitted, 97)
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT 23")
    with pytest.raises(SettingsError, match=r"admits 23 connections.* needs [23]"):
        own_database.share(connection, settings)


def test_the_run_that_dumps_has_a_place_of_its_own(
    store: Store, connection: database.Connection
) -> None:
    name, dumps = urlsplit(store.url).path[1:], Settings(dump_to="/dumps")
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT 24")
    with pytest.raises(SettingsError, match=r"admits 24 connections.* needs 25"):
        own_database.share(connection, dumps)
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT 25")
    assert own_database.share(connection, dumps)


def test_clients_of_the_loopback_close_idle_connections_before_the_servers_do() -> None:
    assert gunicorn.config.Config().keepalive > loopback.IDLE_S
