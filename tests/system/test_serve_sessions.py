"""`progress serve` has its database for itself, waits for it, and counts its connections."""

import asyncio
import logging
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import gunicorn.config  # type: ignore[import-untyped] # it ships no types
import gunicorn.util  # type: ignore[import-untyped] # likewise
import pytest

from progress.adapters.postgres import database
from progress.adapters.pubsub import loopback
from progress.errors import SettingsError, StackError
from progress.local import ports
from progress.serve import sessions
from progress.serve.sessions import Lock
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
    port = ports.reserve()

    async def start(server: OwnServer) -> list[int]:
        lock = Lock(f"postgresql://postgres@127.0.0.1:{port}/postgres", HERE)
        taking = asyncio.create_task(lock.take())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start, "listen_addresses=127.0.0.1", port=port)
        await taking
        assert lock._session
        ours = lock._session._transport.get_extra_info("socket")
        seconds = [
            await lock._session.fetchval(f"SELECT current_setting('tcp_keepalives_{name}')::int")
            for name in ("idle", "interval", "count")
        ]
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [ours.getsockopt(socket.IPPROTO_TCP, option) for option in options] == seconds
        assert await lock._session.fetchval("SHOW tcp_user_timeout") == "8000"
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8_000
        lock.release()
        return seconds

    with folders.create("test") as folder, caplog.at_level(logging.WARNING):
        server = OwnServer(folder, admits=ADMITS)
        idle, interval, count = asyncio.run(start(server))
        server.stop()
    assert idle + interval * count < 10
    assert "waiting for the database: no connection to postgres@127.0.0.1" in caplog.text


def test_one_system_has_the_database_and_takes_a_lost_lock_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_PATIENCE_S", 0.4)

    async def lose(lock: Lock, connection: database.Connection) -> None:
        """End the lock's session, and return once another one has the lock."""
        (before,) = connection.run(HOLDERS)
        connection.run("SELECT pg_terminate_backend(:pid)", pid=before[0])
        for _ in range(200):
            await asyncio.sleep(0.01)
            if connection.run(HOLDERS) not in ([], [before]):
                return
        pytest.fail("no other session has the lock")

    async def run(connection: database.Connection) -> None:
        first, second = Lock(store.url, HERE), Lock(store.url, Path("/srv/two"))
        await first.take()
        since = r", since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC,"
        name = f"{socket.gethostname()[:20]}:{HERE}"
        with pytest.raises(StackError, match=f"serve` of {name}{since} serves this database"):
            await second.take()
        keeping = asyncio.create_task(first.keep())
        await lose(first, connection)
        waiting = asyncio.create_task(second.take())
        monkeypatch.setattr(sessions, "_PAUSE_S", 0.05)
        monkeypatch.setattr(first, "_url", url_of(store.url, "nobody"))  # it is refused from now on
        await lose(first, connection)
        await waiting
        with pytest.raises(Exception, match="nobody"):
            await keeping
        second.release()

    with closing(database.connect(store.url)) as connection:
        asyncio.run(run(connection))


def test_a_login_that_the_database_refuses_ends_the_system(store: Store) -> None:
    async def watch() -> None:
        async with asyncio.timeout(10):
            urls = [store.url, url_of(store.url, "nobody")]
            with pytest.raises(StackError, match=r"local_nobody.*a new start mends it"):
                await sessions.watch_logins(urls)

    asyncio.run(watch())


@pytest.mark.parametrize(("admitted", "workers"), [(22, 1), (30, 1), (31, 3), (200, 1), (200, 4)])
def test_all_functions_and_commands_have_a_place(
    store: Store, connection: database.Connection, admitted: int, workers: int
) -> None:
    name = urlsplit(store.url).path[1:]
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT {admitted}")
    share = sessions.share(connection, Settings(workers=workers))
    query = workers * (share.pool + share.past + 1)
    fixed = sessions._OWNER + sessions._OTHERS + 2 * sessions.OPERATIONS
    assert query + fixed + share.wakes <= min(admitted, 97)
    assert (share.pool, share.past, share.wakes) >= (1, 1, 4)
    connection.run(f"ALTER DATABASE {name} CONNECTION LIMIT 21")
    with pytest.raises(SettingsError, match=r"admits 21 connections.* needs [23]"):
        sessions.share(connection, Settings(workers=workers))


def test_a_client_of_the_loopback_closes_idle_connections_before_the_server_does() -> None:
    assert gunicorn.config.Config().keepalive > loopback.IDLE_S


def test_all_addresses_are_those_of_ipv6_and_ipv4() -> None:
    address = gunicorn.util.parse_address(f"{ports.find_any_host()}:8080")
    assert address[0] == ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104 - see above
