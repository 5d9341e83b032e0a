"""What `progress serve` needs of its database: a lock, room for its sessions, and its logins.

The lock belongs to a session that the supervisor keeps. The server ends this session within 10 s of
the death of the supervisor's host, and at once if the supervisor is killed.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import asyncpg

from progress.adapters.postgres import async_client, database, errors
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import DatabaseUnavailable, SettingsError, StackError
from progress.projections.turns import OPERATIONS
from progress.settings import Settings

log = logging.getLogger("progress.serve")

_FILE = "serve/own_database"
_PATIENCE_S = 10.0  # for another system's end
_PAUSE_S = 0.25
_SAY_S = 10.0  # between two lines that say what the start waits for
_CHECK_S = 10.0
# A dead peer is noticed after 8 s, by the server and by this process.
_KEEPALIVE = {"idle": 4, "interval": 2, "count": 2}
_OPTIONS = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 8_000}
# The sessions of the owner: the lock, and the commands (`doctor` opens five). Others: two of
# ingest, the sweep, the batch job, the check of the logins, and two more of a rebuild.
# Query: one for each of its pools, and one for a probe or an administrator's look at blocking
# sessions.
_OWNER, _OTHERS, _QUERY = 6, 7, 3
_WAKES = 4  # of project at the same time; each operation may have two sessions
_MOST_WAKES = 16  # one for each shard


class Lock:
    """The lock by which one system has its database, on a session that it keeps."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        host = f"{socket.gethostname()[:20]}:{str(folder)[-42:]}"  # PostgreSQL keeps 63 bytes
        self._name = host.encode("ascii", "replace").decode()
        self._session: asyncpg.Connection | None = None
        self._lost = asyncio.Event()

    async def take(self) -> None:
        """Wait for the database for as long as it takes, and 10 s for another system to end.

        Raise StackError if that one has not ended, and DatabaseUnavailable if the database refuses
        this one.
        """
        loop = asyncio.get_running_loop()
        says_at, refused_at = 0.0, math.inf
        while True:
            try:
                if not (holder := await self._try_take()):
                    return
                refused_at = min(refused_at, loop.time() + _PATIENCE_S)
                if loop.time() > refused_at:
                    raise StackError(f"{holder} serves this database: stop it, or use another one")
            except DatabaseUnavailable as error:
                if _is_refusal(error):
                    raise
                if loop.time() >= says_at:
                    log.warning("waiting for the database: %s", error)
                    says_at = loop.time() + _SAY_S
            await asyncio.sleep(_PAUSE_S)

    async def keep(self) -> NoReturn:
        """Take the lock again whenever its session is lost; wait and raise as `take` does."""
        while True:
            await self._lost.wait()
            log.warning("the session that has the lock of the database is lost: taking it again")
            self.release()
            await self.take()

    def release(self) -> None:
        if self._session:
            self._session.terminate()
            self._session = None

    async def _try_take(self) -> str:
        """Return the system that has the lock; an empty text if this one has it now."""
        try:
            if self._session is None or self._session.is_closed():
                settings = {f"tcp_keepalives_{name}": str(n) for name, n in _KEEPALIVE.items()}
                self._session = session = await async_client.connect(
                    self._url, name=self._name, tcp_user_timeout="8000", **settings
                )
                self._lost = lost = asyncio.Event()
                session.add_termination_listener(lambda _: lost.set())
                sock = session._transport.get_extra_info("socket")  # noqa: SLF001 - there is no function for it
                database.keep_alive(sock, _OPTIONS)
            is_taken = await self._session.fetchval(blocks(_FILE)["take lock"])
            if is_taken is None:
                raise DatabaseUnavailable("it is in recovery")
            if is_taken:
                return ""
            holders = await self._session.fetch(blocks(_FILE)["holder"])
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.release()
            raise DatabaseUnavailable(f"the session is lost: {error}") from error
        name, since = holders[0] if holders else ("another system", None)
        begun = f", since {since:%Y-%m-%d %H:%M:%S} UTC," if since else ""
        return f"the `progress serve` of {name}{begun}"


def _is_refusal(error: DatabaseUnavailable) -> bool:
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error.__cause__, SettingsError)  # a pooler in transaction mode
    return not errors.is_transient_state(state)


async def watch_logins(urls: Iterable[str]) -> NoReturn:
    """Raise StackError once the database refuses a function; a new start sets new passwords."""
    while True:
        for url in urls:
            try:
                session = await async_client.connect(url, name="serve-check")
                session.terminate()
            except DatabaseUnavailable as error:
                if _is_refusal(error):
                    why = f"{error}: the system ends, and a new start mends it"
                    raise StackError(why) from None
        await asyncio.sleep(_CHECK_S)


def share(connection: Connection, settings: Settings) -> tuple[dict[str, str], int]:
    """Divide the connections that the database admits; raise SettingsError if there are too few.

    Return the settings of query's pools, in each of its processes, and the wake-ups at a time.
    """
    admitted, of_owner = database.run(connection, _FILE, "connections")[0]
    project = _WAKES + 2 * OPERATIONS + bool(settings.webhook_url)
    query = _QUERY * settings.workers
    others = _OTHERS + bool(settings.dump_to)
    needed = _OWNER + others + project + query
    if admitted < needed or of_owner < _OWNER:
        raise SettingsError(
            f"the database admits {admitted} connections, and {of_owner} of its owner; the system "
            f"needs {needed}: {_OWNER} of the owner (the lock, commands), {project} of project, "
            f"{query} of query, {others} of ingest, sweep, batch job, dumps, rebuilds. Raise "
            "max_connections, or the CONNECTION LIMIT of the database or of its owner"
        )
    spare = int(admitted - needed)
    each = spare // settings.workers
    pools = {
        "DATABASE_POOL_SIZE": min(settings.database_pool_size, 1 + each // 2),
        "DATABASE_PAST_SESSIONS": min(settings.database_past_sessions, 1 + each // 4),
    }
    return {name: str(n) for name, n in pools.items()}, min(_MOST_WAKES, _WAKES + spare // 4)
