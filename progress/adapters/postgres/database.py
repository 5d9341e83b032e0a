"""Connections to PostgreSQL through pg8000, and the boundary that translates pg8000's errors."""

import contextlib
import functools
import logging
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, cast

import pg8000.converters
import pg8000.core
import pg8000.exceptions
import pg8000.native
from pg8000.native import PreparedStatement as Statement

from progress.adapters.postgres import errors, session_settings
from progress.adapters.postgres.errors import Failure, Translate
from progress.adapters.postgres.statements import blocks
from progress.adapters.postgres.url import (
    Address,
    create_tls,
    instance_name,
    parse_url,
    translate_connector_errors,
)
from progress.errors import DatabaseUnavailable, SettingsError
from progress.settings import Settings

# pg8000 sends a Flush after each message, though the Sync at the end returns all replies.
# Without the Flush the server sends one packet instead of three and wakes this process once.
pg8000.core.FLUSH_MSG = b""

log = logging.getLogger(__name__)

__all__ = ["Connect", "Connection", "Failure", "connect", "translate_errors"]


class Connection(pg8000.native.Connection):  # type: ignore[misc] # pg8000 has no types
    """A connection that can still be used after a value that PostgreSQL cannot receive."""

    def execute_unnamed(
        self, statement: str, vals: Iterable[object] = (), oids: Any = (), stream: Any = None
    ) -> Any:
        # pg8000 itself converts the values between two messages. After an error there, each later
        # statement would return the result of an earlier one.
        values = pg8000.converters.make_params(self.py_types, vals)
        for value in values:
            if isinstance(value, str):
                value.encode()
        return super().execute_unnamed(statement, values, oids, stream)

    @functools.cached_property
    def _prepared(self) -> dict[str, Statement]:
        return {}

    def run_prepared(self, statement: str, **values: object) -> list[list[Any]]:
        """Run a statement that returns rows, and keep it prepared in the session.

        From the second run on, this takes one round trip; `run` always takes three.
        """
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = self.prepare(statement)
            prepared.con = weakref.proxy(self)  # a cycle would keep a dropped connection open
        rows: list[list[Any]] = prepared.run(**values)
        return rows

    def __del__(self) -> None:
        """Close the socket of a connection that was dropped and not closed."""
        for stream in (getattr(self, "_sock", None), getattr(self, "_usock", None)):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()


Connect = Callable[[], Connection]

_CONNECT_TIMEOUT_S = 10.0
_TIMESTAMPTZ = 1184  # the type's OID
# With these values, a dead server is noticed after one minute; by default, after two hours.
# TCP_USER_TIMEOUT is not set, because it would also close the connection to a living server that
# reads no COPY data for a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_REJECTED = (
    "; if Terraform writes the password, an interrupted apply may have left two different "
    "passwords: raise `password_version` in the tfvars by one, and apply; for the owner of Neon, "
    "give Terraform the right password, and raise `neon_owner_password_version` instead"
)
# OSError: a connection could not be opened, or it broke.
ERRORS = (pg8000.exceptions.Error, OSError)


def connect(
    target: Settings | str, *, name: str = "progress", timeout_s: float | None = None
) -> Connection:
    """Open a connection; raise DatabaseUnavailable if the server does not respond.

    The session has the settings of `sql/adapters/sessions.sql`. A statement that takes longer than
    `timeout_s` fails as if the server were down. Raise DatabaseUnavailable for a pooler that does
    not keep sessions, too.
    """
    url = target if isinstance(target, str) else target.database_url
    if url:
        address = parse_url(url)
        return _connect(repr(address), lambda: _open_directly(address, name), timeout_s)
    if isinstance(target, Settings) and target.instance_connection_name:
        instance = instance_name(target)
        return _connect(instance, lambda: _open_by_connector(target, instance, name), timeout_s)
    raise SettingsError("neither DATABASE_URL nor INSTANCE_CONNECTION_NAME is set")


def _connect(address: str, open_one: Connect, timeout_s: float | None) -> Connection:
    with contextlib.ExitStack() as on_failure:
        try:
            connection = open_one()
            on_failure.callback(close, connection)
            if not _configure(connection, timeout_s) and not session_settings.is_known(address):
                session_settings.record(address, keeps=_keeps_session(connection, open_one))
            set_timeout(connection, timeout_s)
            on_failure.pop_all()
        except ERRORS as error:
            failure = read_failure(_find_refusal(error))
            hint = _REJECTED if failure.sqlstate == "28P01" else ""
            reason = f"no connection to {address}: {failure.message}{hint}"
            raise DatabaseUnavailable(reason) from failure.error
    return connection


def _open_directly(address: Address, name: str) -> Connection:
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(_open_socket(address))
        connection = Connection(
            address.user,
            # `sock` is already connected. Only TLS uses `host`: as the name to compare with the
            # certificate, and as the SNI, by which Neon routes the connection.
            host=address.host,
            password=address.password,
            database=address.database,
            sock=sock,
            ssl_context=_tls(address),
            application_name=name,
        )
        on_failure.pop_all()
    return connection


def _find_refusal(error: BaseException) -> BaseException:
    """Return the server's error; return `error` itself if the server sent none.

    After the server's error, pg8000 closes the connection. If the close fails as well, `error` is
    the failure of the close, and its `__context__` leads to the server's error.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, pg8000.exceptions.DatabaseError):
        cause = cause.__context__
    return cause or error


def _open_socket(address: Address) -> socket.socket:
    if address.host.startswith("/"):
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(_CONNECT_TIMEOUT_S)
        try:
            unix.connect(f"{address.host}/.s.PGSQL.{address.port}")
        except OSError:
            unix.close()
            raise
        return unix
    tcp = socket.create_connection((address.host, address.port), timeout=_CONNECT_TIMEOUT_S)
    # Without TCP_NODELAY, a message over 8 KB would wait 40 ms for an acknowledgement.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tcp


def _tls(address: Address) -> ssl.SSLContext | bool | None:
    if address.host.startswith("/") or address.sslmode == "disable":
        return False
    if address.sslmode in ("allow", "prefer"):
        return None
    return create_tls(address.sslmode)


def _open_by_connector(settings: Settings, instance: str, name: str) -> Connection:
    with translate_connector_errors(instance):
        connection = _connector().connect(
            instance,
            "pg8000",
            user=settings.db_iam_user,
            db=settings.db_name,
            enable_iam_auth=True,
            application_name=name,
        )
    # The connector returns pg8000's DB-API connection. Its new class adds `run` and `prepare`.
    connection.__class__ = Connection
    return cast("Connection", connection)


@functools.cache
def _connector() -> Any:
    """Return this process's connector, created on first use, because none survives a fork."""
    from google.cloud.sql.connector import Connector  # takes 250 ms

    return Connector(ip_type="PRIVATE", refresh_strategy="lazy")


def _configure(connection: Connection, timeout_s: float | None) -> bool:
    """Configure a new session; return whether the connection is direct."""
    keep_alive(connection._usock)  # noqa: SLF001 - the connector does not return the socket
    connection.register_in_adapter(_TIMESTAMPTZ, _parse_time)
    settings = {}
    if timeout_s is not None:
        # The server stops a statement one second after the client gives up.
        settings["statement_timeout"] = f"{1_000 + round(1_000 * timeout_s)}ms"
    key = connection._backend_key_data or b""  # noqa: SLF001 - pg8000 has no function for it
    pid = int.from_bytes(key[:4], "big", signed=True)
    return len(connection.run(session_settings.configure(pid, settings)) or ()) > 1


def _keeps_session(first: Connection, open_one: Connect) -> bool:
    """Return whether a connection keeps its session while another one has a transaction."""
    texts, second = session_settings.MarkTexts(), open_one()
    try:
        set_timeout(second, session_settings.WAIT_S)
        first.run(texts.mark)
        for _ in range(session_settings.ROUNDS):
            try:
                if second.run(texts.begin):
                    return False
            except TimeoutError:
                return bool(first.run(texts.find))
            if not first.run(texts.find):
                return False
            second.run(texts.end)
        return True
    finally:
        close(second, timeout_s=0.1)


def _parse_time(text: str) -> datetime | str:
    """Parse a timestamptz as pg8000 does, but without strptime, which is slow."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # infinity, or a year that Python does not have
        parsed: datetime | str = pg8000.converters.timestamptz_in(text)
        return parsed


def keep_alive(sock: socket.socket, options: Mapping[str, int] = _KEEPALIVE) -> None:
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):  # macOS lacks some of these options
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def set_timeout(connection: Connection, timeout_s: float | None) -> None:
    connection._usock.settimeout(timeout_s)  # noqa: SLF001 - under TLS, pg8000 wraps the socket that it was given


def connect_within(seconds: float, connect: Connect) -> Connection:
    """Return the connection that `connect` opens; raise DatabaseUnavailable after `seconds`.

    The connection is opened in a thread, because a DNS lookup or a TLS handshake has no timeout. A
    connection that is opened too late is closed.
    """
    opening: Future[Connection] = Future()

    def work() -> None:
        try:
            opening.set_result(connect())
        except BaseException as error:  # noqa: BLE001 - opening.result raises it in the caller
            opening.set_exception(error)

    threading.Thread(target=work, daemon=True, name="connect").start()
    try:
        return opening.result(seconds)
    except TimeoutError:
        opening.add_done_callback(_close_late)
        raise DatabaseUnavailable(f"no connection within {seconds:.1f} s") from None


def _close_late(opening: Future[Connection]) -> None:
    if opening.exception() is None:
        close(opening.result())


def close(connection: Connection, timeout_s: float | None = None) -> None:
    """Close a connection that may be broken; `timeout_s` limits the time to notify the server."""
    with contextlib.suppress(*ERRORS):
        if timeout_s is not None:
            set_timeout(connection, timeout_s)
        connection.close()


def run(connection: Connection, file: str, block: str, /, **values: object) -> list[list[Any]]:
    """Run a block of `sql/{file}.sql`; return its rows."""
    return connection.run(blocks(file)[block], **values) or []


def fetch(
    connection: Connection, file: str, block: str, /, **values: object
) -> list[dict[str, Any]]:
    """Run a block of `sql/{file}.sql`; return its rows by the names of their columns."""
    rows = run(connection, file, block, **values)
    names = [column["name"] for column in connection.columns or []]
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextlib.contextmanager
def hold(connection: Connection, file: str, lock: str, /, **values: object) -> Iterator[None]:
    """Hold a session's advisory lock during the `with` block.

    The SQL block `lock` takes the lock; see `release_after`.
    """
    run(connection, file, lock, **values)
    with release_after(connection, file, lock, **values):
        yield


@contextlib.contextmanager
def release_after(
    connection: Connection, file: str, lock: str, /, **values: object
) -> Iterator[None]:
    """Release a session's advisory lock at the end of the `with` block.

    The name of the SQL block that releases it is that of the block that takes it, after "un".
    """
    try:
        yield
    finally:
        with contextlib.suppress(*ERRORS):  # a broken connection has released the lock
            run(connection, file, f"un{lock}", **values)


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Run the block in a transaction; commit at the end, roll back if the block raises."""
    connection.run("BEGIN")
    is_committed = False
    try:
        yield
        connection.run("COMMIT")
        is_committed = True
    finally:
        if not is_committed:
            with contextlib.suppress(*ERRORS):  # the connection may be broken
                connection.run("ROLLBACK")


@contextlib.contextmanager
def translate_errors(translate: Translate = Failure.to_unavailable) -> Iterator[None]:
    """Translate pg8000's errors by `translate`; if it returns None, raise the error unchanged."""
    try:
        yield
    except ERRORS as error:
        translated = translate(read_failure(error))
        if translated is None:
            raise
        raise translated from error


def read_failure(error: BaseException) -> Failure:
    """Return the error as a Failure; an error that is not in ERRORS is never transient."""
    fields = _server_fields(error)
    sqlstate, is_refusal = fields.get("C", ""), isinstance(error, pg8000.exceptions.DatabaseError)
    is_broken = isinstance(error, (OSError, pg8000.exceptions.InterfaceError))
    return Failure(
        error,
        message=fields.get("M", str(error)),
        sqlstate=sqlstate,
        detail=fields.get("D", ""),
        is_transient=errors.is_transient_state(sqlstate) if is_refusal else is_broken,
        is_refusal=is_refusal,
        context=fields.get("W", ""),
    )


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement failed because it waited for a lock for too long."""
    return read_failure(error).sqlstate == "55P03"


def _server_fields(error: BaseException) -> dict[str, str]:
    """Return the fields of a server's error message; an empty dict for any other error."""
    details: Any = error.args[0] if error.args else None
    return details if isinstance(details, dict) else {}
