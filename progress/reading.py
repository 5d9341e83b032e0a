"""Questions to the read models and the log, over asyncpg: each is one block and one round trip."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import asyncpg

from progress import database, models, statements
from progress.errors import SettingsError, Unavailable
from progress.pool import Connect, Pool
from progress.settings import Settings, current
from progress.statements import Numbered

_T = TypeVar("_T")
Values = Mapping[str, object]

_CONNECTIONS = 10
_SECONDS = 10  # that a connection or a question may take

# What a connection says that is broken; the second, that it met its end while it lay in the pool.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Before the first deploy has made its read models.
_NOT_MADE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


class Reader:
    """Connections that see the live read models; the first is made for the first question."""

    def __init__(self, where: Settings | str) -> None:
        self._where = where
        self._pool: Pool | None = None
        self._types: dict[tuple[str, str], dict[str, str]] = {}

    async def answered(self, statement: Numbered, values: Values) -> list[asyncpg.Record]:
        """The rows of a statement; Unavailable if the database does not answer.

        A question that met a passing fault is asked once more, on another connection: it only
        reads. One that took too long is not.
        """
        given = [values[each] for each in statement.names]

        async def ask(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(statement.text, *given)
            return rows

        return await self._twice(ask)

    async def types(self, file: str, name: str) -> dict[str, str]:
        """The columns of a block of `sql/{file}.sql`, with PostgreSQL's types; asked once each."""
        found = self._types.get((file, name))
        if found is None:
            text = statements.numbered(file, name).text

            async def ask(connection: asyncpg.Connection) -> dict[str, str]:
                prepared = await connection.prepare(text)
                return {each.name: each.type.name for each in prepared.get_attributes()}

            found = self._types[file, name] = await self._twice(ask)
        return found

    async def close(self) -> None:
        """End the connections at once."""
        if self._pool is not None:
            self._pool.close()

    async def _twice(self, ask: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        try:
            return await self._once(ask)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            told = _told(fault)
            if isinstance(fault, TimeoutError) or not isinstance(told, Unavailable):
                raise told from fault
        try:
            return await self._once(ask)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise _told(fault) from fault

    async def _once(self, ask: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(_connecting(self._where), _CONNECTIONS)
        try:
            connection = await pool.taken(seconds=_SECONDS)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise Unavailable(f"no connection to the database: {fault}") from fault
        try:
            found = await ask(connection)
        except asyncpg.PostgresError:
            pool.give(connection)
            raise
        except BaseException:
            pool.end(connection)
            raise
        pool.give(connection)
        return found


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


def _connecting(where: Settings | str) -> Connect:
    options = {
        "command_timeout": _SECONDS,
        "timeout": _SECONDS,
        "server_settings": {
            "application_name": "query",
            "search_path": f"{models.schema_name()}, event_store",
            "timezone": "UTC",
            "jit": "off",  # compiling costs more than these questions do
            "max_parallel_workers_per_gather": "0",  # so does starting a worker
            "plan_cache_mode": "force_generic_plan",  # so does planning each time
        },
    }
    url = where if isinstance(where, str) else where.database_url
    if url:
        return functools.partial(asyncpg.connect, **_direct(database.address(url)), **options)
    if isinstance(where, Settings) and where.instance_connection_name:
        return functools.partial(_by_connector(where), **options)
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


def _by_connector(where: Settings) -> Callable[..., Awaitable[asyncpg.Connection]]:
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

    return connect


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
    """The rows of a block of `sql/{file}.sql`, of the block's reader or this process's.

    Unavailable if the database does not answer.
    """
    return await _reader().answered(statements.numbered(file, name), values)


async def narrowed(file: str, name: str, columns: str, **values: object) -> list[asyncpg.Record]:
    """The same, of a question of which only these columns are asked."""
    return await _reader().answered(statements.narrowed(file, name, columns), values)


async def types(file: str, name: str) -> dict[str, str]:
    """As `Reader.types`, of the same reader."""
    return await _reader().types(file, name)


def _reader() -> Reader:
    return _chosen.get() or _of_this_process()
