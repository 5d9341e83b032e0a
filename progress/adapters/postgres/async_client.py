"""Sessions of asyncpg with the database; what their faults mean."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import url as postgres_url
from progress.adapters.postgres.pool import Connect, Pool
from progress.adapters.request_scope import RequestScope
from progress.errors import SettingsError, Unavailable
from progress.settings import Settings

_T = TypeVar("_T")
Ask = Callable[[asyncpg.Connection], Awaitable[_T]]

# In case a request to cancel is lost, or the process is: no statement begins after its deadline.
_STATEMENT_TIMEOUT = f"{request_scope.TIMEOUT_S:.0f}s"
# What a connection says that is broken; the second, that it met its end while it lay in the pool.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_TOO_LONG = (TimeoutError, asyncpg.QueryCanceledError)
# Before the first deploy has made its read models.
_NOT_MADE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


class Sessions:
    """At most `size` sessions in UTC; the first is opened for the first question.

    `said` is told to the server at the beginning of each, `given` are further settings of it.
    """

    def __init__(
        self,
        where: Settings | str,
        *,
        name: str,
        size: int,
        search_path: str,
        said: str = "",
        **given: str,
    ) -> None:
        self._where, self._size, self._said = where, size, said
        self._settings = {
            "application_name": name,
            "search_path": search_path,
            "timezone": "UTC",
            "jit": "off",  # compiling costs more than these questions do
            "max_parallel_workers_per_gather": "0",  # so does starting a worker
            "plan_cache_mode": "force_generic_plan",  # so does planning each time
            "statement_timeout": _STATEMENT_TIMEOUT,
            **given,
        }
        self._pool: Pool | None = None

    async def ask(self, ask: Ask[_T], scope: RequestScope | None = None) -> _T:
        """What a question finds; Unavailable if the database does not answer by the deadline.

        A question that met a passing fault is asked once more by then, in another session: it only
        reads. One that took too long is not. The scope is the present request's by default.
        """
        scope = scope or request_scope.current()
        try:
            return await self._once(ask, scope)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            told = _told(fault)
            if isinstance(fault, _TOO_LONG) or not isinstance(told, Unavailable):
                raise told from fault
        try:
            return await self._once(ask, scope)
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise _told(fault) from fault

    def close(self) -> None:
        """End those in which nothing is asked."""
        if self._pool is not None:
            self._pool.close()

    async def _once(self, ask: Ask[_T], scope: RequestScope) -> _T:
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(self._connecting(), self._size)
        try:
            connection = await pool.taken(seconds=scope.left())
        except (asyncpg.PostgresError, *_BROKEN) as fault:
            raise Unavailable(f"no connection to the database: {fault}") from fault
        back = pool.cancel  # unless the question comes to an end: it is in the middle of it
        try:
            found = await ask(connection)
            back = pool.give
        except asyncpg.PostgresError:
            back = pool.give
            raise
        finally:
            back(connection)
        return found

    def _connecting(self) -> Connect:
        connect = _connecting(self._where)

        async def opened() -> asyncpg.Connection:
            session = await connect(
                command_timeout=request_scope.TIMEOUT_S,
                timeout=request_scope.TIMEOUT_S,
                server_settings=self._settings,
            )
            with contextlib.ExitStack() as undone:
                undone.callback(session.terminate)
                if self._said:
                    await session.execute(self._said)
                undone.pop_all()
            return session

        return opened


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
    return outlived or postgres_url.is_passing_state(fault.sqlstate or "")


def _connecting(where: Settings | str) -> Callable[..., Awaitable[asyncpg.Connection]]:
    url = where if isinstance(where, str) else where.database_url
    if url:
        return functools.partial(asyncpg.connect, **_direct(postgres_url.address(url)))
    if isinstance(where, Settings) and where.instance_connection_name:
        return _by_connector(where)
    raise SettingsError("neither DATABASE_URL nor INSTANCE_CONNECTION_NAME is set")


def _direct(at: postgres_url.Address) -> dict[str, Any]:
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

    instance, loop = postgres_url.instance(where), asyncio.get_running_loop()
    with postgres_url.by_connector(instance):
        connector = Connector(ip_type="PRIVATE", loop=loop, refresh_strategy="lazy")

    async def connect(**wanted: Any) -> asyncpg.Connection:
        with postgres_url.by_connector(instance):
            return await connector.connect_async(
                instance,
                "asyncpg",
                user=where.db_iam_user,
                db=where.db_name,
                enable_iam_auth=True,
                **wanted,
            )

    return connect
