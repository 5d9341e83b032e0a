"""Database access through asyncpg: a pool, a retry, a circuit breaker, translated errors.

The pool lends each connection to one caller at a time. asyncpg's own pool is not used, because it
would double the Python time of a query.

The circuit breaker lets calls fail immediately while the database does not respond. After three
failures in a row, which may be one caller's long statements, a probe opens the breaker if it fails,
too. The first request that arrives at least 1 s later probes the database again and waits for the
result. If the probe succeeds, the breaker closes. If the probe fails, the next probe may start 2 s
after the failed probe started. While the breaker is open, all other requests are rejected.
"""

import asyncio
import contextlib
import functools
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import errors, session_settings
from progress.adapters.postgres import url as postgres_url
from progress.adapters.postgres.errors import Failure
from progress.adapters.postgres.shares import Places
from progress.adapters.request_scope import RequestScope
from progress.adapters.telemetry import logs
from progress.errors import (
    DatabaseUnavailable,
    SettingsError,
    StatementFailed,
    StatementTimedOut,
    Unavailable,
)
from progress.settings import Settings

_MAX_FAILURES = 3
_FIRST_PAUSE_S, _PAUSE_S = 1.0, 2.0
_PROBE_TIMEOUT_S = 1.0


class CircuitBreaker:
    """A breaker that closes when `probe` returns, and opens if `probe` raises an error.

    `on_open` is called each time the breaker opens.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]], on_open: Callable[[], None]) -> None:
        self._probe, self._on_open = probe, on_open
        self.is_open = False
        self.failures = 0  # failures since the last success
        self._next_probe_at = self._closed_at = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._prober: RequestScope | None = None

    async def admit(self, scope: RequestScope) -> None:
        """Return once the breaker is closed; raise DatabaseUnavailable if the call is rejected.

        While a probe runs, the calls of the request that started it wait for the result; the calls
        of all other requests are rejected.
        """
        if self.is_open and self._probing is None and time.monotonic() >= self._next_probe_at:
            self._prober = scope
            self._probing = asyncio.create_task(self._run_probe())
        if self._probing and self._prober is scope:
            await asyncio.wait({self._probing}, timeout=scope.remaining())
        if self.is_open:
            raise DatabaseUnavailable("the database did not respond to the last calls")

    def record_success(self) -> None:
        self.failures = 0
        if self.is_open:
            self.is_open, self._closed_at = False, time.monotonic()
            logs.write("INFO", "the database responds again")

    def record_failure(self, *, started_at: float) -> None:
        """Count a failure; after the third in a row, probe whether the breaker must open.

        If the call started before the breaker last closed, the earlier outage may have caused the
        failure. Such a failure is not counted.
        """
        if started_at < self._closed_at:
            return
        self.failures += 1
        if self.failures >= _MAX_FAILURES and not self.is_open and self._probing is None:
            self._probing = asyncio.create_task(self._run_probe())

    async def _run_probe(self) -> None:
        self._next_probe_at = time.monotonic() + _PAUSE_S
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._probe()
            self.record_success()
        except (DatabaseUnavailable, TimeoutError):
            if self.failures >= _MAX_FAILURES and not self.is_open:
                self.is_open = True
                self._next_probe_at = time.monotonic() + _FIRST_PAUSE_S
                logs.write("WARNING", "the database does not respond: queries are rejected")
                self._on_open()
        finally:
            self._probing = self._prober = None


_CANCEL_TIMEOUT_S = 2.0  # the time limit for cancelling a statement and closing its connection

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Pool:
    """A pool of at most `size` connections, opened on demand, and closed if idle for `idle_s`.

    Each caller has a share of them (see `Shares`). While the pool cancels a statement, the task
    that does so is in `closing`.
    """

    def __init__(
        self,
        connect: Connect,
        size: int,
        idle_s: float,
        closing: set[asyncio.Task[None]] | None = None,
    ) -> None:
        self._connect = connect
        self._idle_s = idle_s
        self._places = Places(size)
        self._lent: dict[asyncpg.Connection, tuple[str, float]] = {}  # to whom, since when
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()
        self._closing = set() if closing is None else closing
        self._is_closed = False

    async def acquire(self, caller: str, *, seconds: float) -> asyncpg.Connection:
        """Return a connection; raise TimeoutError if the server does not open one in time.

        Raise InstanceUnavailable if no connection becomes free in time, or if too many calls wait
        for one, and CallerBusy if too many of the caller do.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        await self._places.acquire(caller, deadline)
        since = time.monotonic()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._places.release, caller, since)
            connection = self._pop_idle(since)
            if connection is None:
                async with asyncio.timeout_at(deadline):
                    connection = await self._connect()
            on_failure.pop_all()
        self._lent[connection] = caller, since
        return connection

    def release(self, connection: asyncpg.Connection) -> None:
        """Take back a connection that is idle or closed."""
        if connection.is_closed() or self._is_closed:
            self.discard(connection)
            return
        now = time.monotonic()
        self._idle.append((connection, now))
        while self._idle[0][1] < now - self._idle_s:
            self._idle.popleft()[0].terminate()
        self._places.release(*self._lent.pop(connection))

    def discard(self, connection: asyncpg.Connection) -> None:
        """Take back a broken connection; a second call does nothing."""
        connection.terminate()
        if connection in self._lent:
            self._places.release(*self._lent.pop(connection))

    def cancel(self, connection: asyncpg.Connection) -> None:
        """Take back a connection that is running a statement, and cancel the statement.

        Until the connection is closed, its caller keeps the place, because the server may still be
        busy with the statement.
        """
        if connection.is_closed():
            self.discard(connection)
            return
        closing = asyncio.create_task(self._cancel_and_close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """Close the idle connections, and each lent connection once it is released.

        Callers that wait for a connection get DatabaseUnavailable.
        """
        self._is_closed = True
        self._places.end_waits(DatabaseUnavailable("the connections were closed"))
        self.close_idle()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    async def _cancel_and_close(self, connection: asyncpg.Connection) -> None:
        try:
            # close() first sends a cancel request for the statement; terminate() would send none.
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                await connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        finally:
            self.discard(connection)

    def _pop_idle(self, now: float) -> asyncpg.Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if since >= now - self._idle_s and not connection.is_closed():
                return connection
            connection.terminate()
        return None


_T = TypeVar("_T")
Work = Callable[[asyncpg.Connection], Awaitable[_T]]

# After this time the server itself stops a statement, in case the cancel request was lost.
_STATEMENT_TIMEOUT = f"{request_scope.TIMEOUT_S:.0f}s"
# InternalClientError: the connection broke while it was idle in the pool, or the session does not
# know the type of a value.
_OF_DRIVER = (asyncpg.InterfaceError, asyncpg.InternalClientError)
_ERRORS = (asyncpg.PostgresError, OSError, *_OF_DRIVER)
_TIMEOUTS = (TimeoutError, asyncpg.QueryCanceledError)
_LOCKED = asyncpg.LockNotAvailableError  # the database responds, and another session has the lock
_ONE_ROW = "SELECT 1"  # the status of a text whose last statement returns one row
_MISSING = ("42P01", "3F000")  # no such table or schema, because the first deploy is still running

# A timeout counts as a failure of the database only if the call took at least this time. If the
# body of a request arrives late, little time is left for the request's calls, so they may time out
# although the database is healthy.
_MIN_TIME_S = 1.0


class Database:
    """A database with at most `size` sessions, each opened when it is first needed.

    A session that is idle for `idle_s` is closed at the next use of the database. `settings` adds
    or replaces settings of the sessions.
    """

    def __init__(
        self,
        target: Settings | str,
        *,
        name: str,
        size: int,
        search_path: str,
        idle_s: float = 300,
        **settings: str,
    ) -> None:
        self._target, self._size, self._idle_s = target, size, idle_s
        self._name = name
        self._settings = {
            "search_path": search_path,
            # Compiling or planning these queries, or starting workers for them, would take longer
            # than running them.
            "jit": "off",
            "max_parallel_workers_per_gather": "0",
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": _STATEMENT_TIMEOUT,
            **settings,
        }
        self._pool: Pool | None = None
        self._closing: set[asyncio.Task[None]] = set()  # also of former pools
        self._lent: dict[asyncpg.Connection, Pool] = {}  # the sessions in use
        self._is_closed = False
        self._breaker = CircuitBreaker(self._probe, self._close_pool)

    async def run(self, work: Work[_T], scope: RequestScope | None = None) -> _T:
        """Return the result of `work`; raise DatabaseUnavailable if the database does not respond.

        Raise StatementFailed if the server rejects a statement. After a transient error other
        than a timeout, `work` runs once more on another session, so `work` must only read. `scope`
        sets the deadline; the default is the current request's scope.
        """
        scope, breaker = scope or request_scope.current(), self._breaker
        if breaker.is_open:
            await breaker.admit(scope)
        started_at = time.monotonic()
        try:
            result = await self._run_or_retry(work, scope)
        except DatabaseUnavailable as error:
            if _is_failure(error, time.monotonic() - started_at):
                breaker.record_failure(started_at=started_at)
            raise
        except StatementFailed:
            breaker.record_success()
            raise
        if breaker.failures:
            breaker.record_success()
        return result

    async def close(self) -> None:
        """Close all sessions, and cancel the statements that still run, which takes at most 2 s.

        Their calls, and all later ones, get DatabaseUnavailable.
        """
        self._is_closed = True
        self._close_pool()
        for connection, pool in self._lent.items():
            pool.cancel(connection)
        while self._closing:
            await asyncio.wait(self._closing)

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    async def _run_or_retry(self, work: Work[_T], scope: RequestScope) -> _T:
        try:
            return await self._run_once(work, scope)
        except _ERRORS as error:
            translated = _translate(_read(error))
            has_waited = isinstance(error, (*_TIMEOUTS, _LOCKED))
            is_transient = isinstance(translated, Unavailable) and not has_waited
            if not is_transient or self._breaker.is_open or self._is_closed:
                raise translated from error
        try:
            return await self._run_once(work, scope)
        except _ERRORS as error:
            raise _translate(_read(error)) from error

    async def _run_once(self, work: Work[_T], scope: RequestScope) -> _T:
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(self._connector(), self._size, self._idle_s, self._closing)
        try:
            connection = await pool.acquire(scope.caller, seconds=scope.remaining())
        except _ERRORS as error:
            raise DatabaseUnavailable(f"no connection to the database: {error}") from error
        if self._is_closed:
            pool.discard(connection)
            raise DatabaseUnavailable("the connections were closed")
        self._lent[connection] = pool
        try:
            result = await work(connection)
        except BaseException as error:
            self._take_back(connection, error)
            raise
        del self._lent[connection]
        pool.release(connection)
        return result

    def _take_back(self, connection: asyncpg.Connection, error: BaseException) -> None:
        """Take back the session of work that failed; raise StatementFailed for a faulty value."""
        pool, is_of_driver = self._lent.pop(connection), isinstance(error, _OF_DRIVER)
        if isinstance(error, asyncpg.PostgresError):
            has_forgotten = isinstance(error, asyncpg.InvalidCachedStatementError)
            if errors.is_of_session(error.sqlstate or "") and not has_forgotten:
                self._close_pool()  # the other sessions probably have the same state
            pool.release(connection)
        elif is_of_driver and not connection.is_closed():
            pool.discard(connection)
            raise StatementFailed(f"a value cannot be encoded or decoded: {error}", "") from error
        else:
            if is_of_driver:
                self._close_pool()
            pool.cancel(connection)  # a statement may still be running

    async def _probe(self) -> None:
        """Open a new session, because the pool's sessions may be waiting for a lost server.

        If one opens, close those that are idle: they may be of the lost server.
        """
        try:
            session = await self._connector()()
        except _ERRORS as error:
            raise DatabaseUnavailable(f"no connection to the database: {error}") from error
        session.terminate()
        if self._pool is not None:
            self._pool.close_idle()

    def _connector(self) -> Connect:
        address, connect = _connect_function(self._target)
        open_one = functools.partial(
            connect,
            command_timeout=request_scope.TIMEOUT_S,
            timeout=request_scope.TIMEOUT_S,
            server_settings={"application_name": self._name},
            max_cacheable_statement_size=0,  # no limit: statements about the past are long
        )
        return functools.partial(_open_session, address, open_one, self._settings)


async def connect(url: str, *, name: str, **settings: str) -> asyncpg.Connection:
    """Open one session of its own; raise DatabaseUnavailable if the server does not open it."""
    address, open_one = _connect_function(url)
    named = functools.partial(
        open_one, timeout=request_scope.TIMEOUT_S, server_settings={"application_name": name}
    )
    try:
        return await _open_session(address, named, settings)
    except _ERRORS as error:
        raise DatabaseUnavailable(f"no connection to {address}: {error}") from error


async def _open_session(
    address: str, open_one: Connect, settings: dict[str, str]
) -> asyncpg.Connection:
    """Open and configure a session; raise DatabaseUnavailable if a pooler keeps no sessions."""
    with contextlib.ExitStack() as on_failure:
        connection = await open_one()
        on_failure.callback(connection.terminate)
        text = session_settings.configure(connection.get_server_pid(), settings)
        if await connection.execute(text) != _ONE_ROW and not session_settings.is_known(address):
            session_settings.record(address, keeps=await _keeps_session(connection, open_one))
        on_failure.pop_all()
    return connection


async def _keeps_session(first: asyncpg.Connection, open_one: Connect) -> bool:
    """Return whether a connection keeps its session while another one has a transaction."""
    texts, second = session_settings.MarkTexts(), await open_one()
    try:
        await first.execute(texts.mark)
        for _ in range(session_settings.ROUNDS):
            try:
                if await second.execute(texts.begin, timeout=session_settings.WAIT_S) == _ONE_ROW:
                    return False
            except TimeoutError:
                return bool(await first.execute(texts.find) == _ONE_ROW)
            if await first.execute(texts.find) != _ONE_ROW:
                return False
            await second.execute(texts.end)
        return True
    finally:
        second.terminate()


def _is_failure(error: DatabaseUnavailable, seconds: float) -> bool:
    """Return whether a call's error after `seconds` counts as a failure of the database."""
    cause = error.__cause__
    if isinstance(cause, _TIMEOUTS):
        return seconds >= _MIN_TIME_S
    return not isinstance(cause, _LOCKED) and getattr(cause, "sqlstate", None) not in _MISSING


def _translate(failure: Failure) -> DatabaseUnavailable | StatementFailed:
    if isinstance(failure.error, _TIMEOUTS):
        return StatementTimedOut("a statement ran into its time limit")
    if failure.sqlstate in _MISSING:
        return DatabaseUnavailable("the read models do not exist yet: deploy the project function")
    return failure.to_unavailable() or StatementFailed(failure.message, failure.sqlstate)


def _read(error: Exception) -> Failure:
    if not isinstance(error, asyncpg.PostgresError):
        return Failure(error, str(error), "", "", is_transient=True, is_refusal=False)
    sqlstate = error.sqlstate or ""
    # A deploy changed the types of a prepared statement; a retry prepares it again.
    is_stale = isinstance(error, asyncpg.InvalidCachedStatementError)
    return Failure(
        error,
        message=str(error),
        sqlstate=sqlstate,
        detail=error.detail or "",
        is_transient=is_stale or errors.is_transient_state(sqlstate),
        is_refusal=True,
    )


def _connect_function(
    target: Settings | str,
) -> tuple[str, Callable[..., Awaitable[asyncpg.Connection]]]:
    """Return the address of the database, and a function that connects to it."""
    url = target if isinstance(target, str) else target.database_url
    if url:
        address = postgres_url.parse_url(url)
        return repr(address), functools.partial(asyncpg.connect, **_connect_arguments(address))
    if isinstance(target, Settings) and target.instance_connection_name:
        return target.instance_connection_name, _connect_by_connector(target)
    raise SettingsError("neither DATABASE_URL nor INSTANCE_CONNECTION_NAME is set")


def _connect_arguments(address: postgres_url.Address) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "database": address.database,
        "ssl": False if address.host.startswith("/") else _tls(address.sslmode),
    }


def _tls(sslmode: str) -> ssl.SSLContext | str:
    is_optional = sslmode in ("disable", "allow", "prefer")
    return sslmode if is_optional else postgres_url.create_tls(sslmode)


def _connect_by_connector(settings: Settings) -> Callable[..., Awaitable[asyncpg.Connection]]:
    from google.cloud.sql.connector import Connector  # takes 250 ms

    instance, loop = postgres_url.instance_name(settings), asyncio.get_running_loop()
    with postgres_url.translate_connector_errors(instance):
        connector = Connector(ip_type="PRIVATE", loop=loop, refresh_strategy="lazy")

    async def connect(**arguments: Any) -> asyncpg.Connection:
        with postgres_url.translate_connector_errors(instance):
            return await connector.connect_async(
                instance,
                "asyncpg",
                user=settings.db_iam_user,
                db=settings.db_name,
                enable_iam_auth=True,
                **arguments,
            )

    return connect
