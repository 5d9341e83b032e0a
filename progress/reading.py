"""Questions to the read models and the log, over asyncpg: each is one block and one round trip."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import asyncpg

from progress import database, models, statements
from progress.errors import SettingsError, Unavailable
from progress.settings import Settings, current

_CONNECTIONS = 10
_SECONDS = 10  # that a connection or a question may take

# What a connection says that is broken; the second, that it met its end while it lay in the pool.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Before the first deploy has made its read models.
_NOT_MADE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


class Reader:
    """A pool of connections that see the live read models; it connects at its first question."""

    def __init__(self, where: Settings | str) -> None:
        self._where = where
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def rows(self, file: str, name: str, **values: object) -> list[asyncpg.Record]:
        """The rows of a block of `sql/{file}.sql`; Unavailable if the database does not answer.

        A question that met a passing fault is asked once more, on another connection: it only
        reads. One that took too long is not.
        """
        statement = statements.numbered(file, name)
        given = [values[each] for each in statement.names]
        try:
            return await self._asked(statement.text, given)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            told = _told(fault)
            if isinstance(fault, TimeoutError) or not isinstance(told, Unavailable):
                raise told from fault
        try:
            return await self._asked(statement.text, given)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise _told(fault) from fault

    async def close(self) -> None:
        """End the connections at once."""
        if self._pool is not None:
            self._pool.terminate()

    async def _asked(self, text: str, given: list[object]) -> list[asyncpg.Record]:
        pool = self._pool or await self._opened()
        try:
            connection = await pool.acquire(timeout=_SECONDS)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise Unavailable(f"no connection to the database: {fault}") from fault
        try:
            rows: list[asyncpg.Record] = await connection.fetch(text, *given)
            return rows
        except _BROKEN:
            connection.terminate()
            raise
        finally:
            await pool.release(connection)

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0,
                    max_size=_CONNECTIONS,
                    reset=_left_as_it_is,
                    command_timeout=_SECONDS,
                    timeout=_SECONDS,
                    server_settings={
                        "application_name": "query",
                        "search_path": f"{models.schema_name()}, event_store",
                        "timezone": "UTC",
                        "jit": "off",  # compiling costs more than these questions do
                        "max_parallel_workers_per_gather": "0",  # so does starting a worker
                        "plan_cache_mode": "force_generic_plan",  # so does planning each time
                    },
                    **_target(self._where),
                )
            return self._pool


def _told(fault: Exception) -> Exception:
    """Unavailable where another try may succeed; else the fault itself, which is our own."""
    if isinstance(fault, _NOT_MADE):
        return Unavailable("the read models are not there yet: deploy the project function")
    if _is_passing(fault):
        return Unavailable(f"the database does not answer: {fault}")
    return fault


def _is_passing(fault: Exception) -> bool:
    if not isinstance(fault, asyncpg.PostgresError):
        return True
    # A statement prepared before a deploy changed its types is prepared anew.
    outlived = isinstance(fault, asyncpg.InvalidCachedStatementError)
    return outlived or database.is_passing_state(fault.sqlstate or "")


async def _left_as_it_is(_: asyncpg.Connection) -> None:
    """Questions leave nothing in their session, and asyncpg's own reset is a round trip."""


def _target(where: Settings | str) -> dict[str, Any]:
    url = where if isinstance(where, str) else where.database_url
    if url:
        return _direct(database.address(url))
    if isinstance(where, Settings) and where.instance_connection_name:
        return _by_connector(where)
    raise SettingsError("neither DATABASE_URL nor INSTANCE_CONNECTION_NAME is set")


def _direct(at: database.Address) -> dict[str, Any]:
    return {
        "host": at.host,
        "port": at.port,
        "user": at.user,
        "password": at.password,
        "database": at.database,
        "ssl": False if at.host.startswith("/") else _tls(at.sslmode),
    }


def _tls(sslmode: str) -> ssl.SSLContext | str:
    """As for pg8000: a mode that asks for a certificate means one that the system trusts."""
    verified = sslmode in ("verify-ca", "verify-full")
    return ssl.create_default_context() if verified else sslmode


def _by_connector(where: Settings) -> dict[str, Any]:
    from google.cloud.sql.connector import Connector  # 250 ms: only where it is used

    connector = Connector(loop=asyncio.get_running_loop(), refresh_strategy="lazy")

    async def connect(**wanted: Any) -> asyncpg.Connection:
        return await connector.connect_async(
            str(where.instance_connection_name),
            "asyncpg",
            user=where.db_iam_user,
            db=where.db_name,
            enable_iam_auth=True,
            **wanted,
        )

    return {"connect": connect}


_chosen: ContextVar[Reader | None] = ContextVar("_chosen", default=None)


@functools.cache
def _of_this_process() -> Reader:
    return Reader(current())


@contextlib.contextmanager
def using(reader: Reader) -> Iterator[None]:
    """What is asked inside the block is asked of that reader."""
    before = _chosen.set(reader)
    try:
        yield
    finally:
        _chosen.reset(before)


@contextlib.asynccontextmanager
async def opened(where: Settings | str) -> AsyncIterator[Reader]:
    """A reader of the database at `where`, for what is asked inside the block."""
    reader = Reader(where)
    try:
        with using(reader):
            yield reader
    finally:
        await reader.close()


async def rows(file: str, name: str, **values: object) -> list[asyncpg.Record]:
    """As `Reader.rows`, of the block's reader, or else of the database that the settings name."""
    reader = _chosen.get() or _of_this_process()
    return await reader.rows(file, name, **values)
