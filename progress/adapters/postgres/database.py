"""Connections to PostgreSQL by pg8000."""

import contextlib
import functools
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pg8000.core
import pg8000.exceptions
from pg8000.native import Connection
from pg8000.native import PreparedStatement as Statement

from progress.adapters.postgres.url import (
    Address,
    address,
    by_connector,
    instance,
    is_passing_state,
)
from progress.errors import SettingsError, Unavailable
from progress.settings import Settings

# pg8000 asks for each part of an answer (Flush), though the Sync at the end brings all of it.
# Without that, the server sends one packet instead of three, and wakes this process once.
pg8000.core.FLUSH_MSG = b""

log = logging.getLogger(__name__)

__all__ = ["Connection", "Statement", "connect", "is_passing", "sqlstate"]

_SECONDS = 10.0  # until a server that does not greet counts as away


def connect(
    where: Settings | str, *, name: str = "progress", patience: float | None = None
) -> Connection:
    """One connection, in UTC; Unavailable if the server does not answer.

    A statement that is not answered within `patience` seconds fails as if the server were away.
    """
    if isinstance(where, str):
        return _direct(address(where), name, patience)
    if where.database_url:
        return _direct(address(where.database_url), name, patience)
    if where.instance_connection_name:
        return _by_connector(where, instance(where), name, patience)
    raise SettingsError("neither DATABASE_URL nor INSTANCE_CONNECTION_NAME is set")


def _direct(at: Address, name: str, patience: float | None) -> Connection:
    with contextlib.ExitStack() as undone:
        try:
            wire = undone.enter_context(_socket(at))
            made = Connection(
                at.user,
                host=at.host,  # that a certificate must name; Neon goes by it, too
                password=at.password,
                database=at.database,
                sock=wire,
                ssl_context=_tls(at),
                application_name=name,
            )
            _ready(made, patience)
            undone.pop_all()
        except (OSError, pg8000.exceptions.Error) as fault:
            refusal = _refusal(fault)
            raise Unavailable(f"no connection to {at!r}: {refusal}") from refusal
    return made


def _refusal(fault: BaseException) -> BaseException:
    """The server's own error; pg8000 may raise another, since it says goodbye to a closed line."""
    each: BaseException | None = fault
    while each is not None and not isinstance(each, pg8000.exceptions.DatabaseError):
        each = each.__context__
    return each or fault


def _socket(at: Address) -> socket.socket:
    if at.host.startswith("/"):
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(_SECONDS)
        try:
            unix.connect(f"{at.host}/.s.PGSQL.{at.port}")
        except OSError:
            unix.close()
            raise
        return unix
    tcp = socket.create_connection((at.host, at.port), timeout=_SECONDS)
    # pg8000 leaves it out: a message over 8 KB then waits 40 ms for an acknowledgement.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return tcp


def _tls(at: Address) -> ssl.SSLContext | bool | None:
    if at.host.startswith("/") or at.sslmode == "disable":
        return False
    if at.sslmode in ("allow", "prefer"):
        return None
    context = ssl.create_default_context()
    if at.sslmode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _by_connector(where: Settings, at: str, name: str, patience: float | None) -> Connection:
    try:
        with by_connector(at):
            made = _connector().connect(
                at,
                "pg8000",
                user=where.db_iam_user,
                db=where.db_name,
                enable_iam_auth=True,
                application_name=name,
            )
        # It knows pg8000's DB-API alone: the same connection, without `run` and `prepare`.
        made.__class__ = Connection
        _ready(made, patience)
    except (OSError, pg8000.exceptions.Error) as fault:
        raise Unavailable(f"no connection to {at}: {fault}") from fault
    return cast("Connection", made)


@functools.cache
def _connector() -> Any:
    """Made at first use, so after any fork."""
    from google.cloud.sql.connector import Connector  # 250 ms: only where it is used

    return Connector(ip_type="PRIVATE", refresh_strategy="lazy")


def _ready(connection: Connection, patience: float | None) -> None:
    connection.run("SET timezone = 'UTC'")
    if patience is not None:  # a server that works on when nobody waits any more ends soon after
        connection.run(f"SET statement_timeout = {1_000 + round(1_000 * patience)}")
    limit(connection, patience)


def limit(connection: Connection, patience: float | None) -> None:
    """Let each statement from now on fail that is not answered within so many seconds."""
    connection._usock.settimeout(patience)  # noqa: SLF001 - with TLS it is not the one we made


def connect_within(seconds: float, connect: Callable[[], Connection]) -> Connection:
    """The same connection, or Unavailable after so many seconds, whatever `connect` waits for.

    Names are looked up and hands are shaken without a time limit of their own. A connection that
    comes too late is closed.
    """
    made: Future[Connection] = Future()

    def work() -> None:
        try:
            made.set_result(connect())
        except BaseException as fault:  # noqa: BLE001 - it is the caller's
            made.set_exception(fault)

    threading.Thread(target=work, daemon=True, name="connect").start()
    try:
        return made.result(seconds)
    except TimeoutError:
        made.add_done_callback(_close_late)
        raise Unavailable(f"no connection within {seconds:.1f} s") from None


def _close_late(made: Future[Connection]) -> None:
    if made.exception() is None:
        with contextlib.suppress(OSError, pg8000.exceptions.Error):
            made.result().close()


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All that is run inside, or nothing of it."""
    connection.run("BEGIN")
    committed = False
    try:
        yield
        connection.run("COMMIT")
        committed = True
    finally:
        if not committed:
            with contextlib.suppress(OSError, pg8000.exceptions.Error):  # it may be broken
                connection.run("ROLLBACK")


def is_passing(fault: BaseException) -> bool:
    """Whether another try, on another connection, may succeed."""
    if isinstance(fault, pg8000.exceptions.DatabaseError):
        return is_passing_state(sqlstate(fault))
    return isinstance(fault, (OSError, pg8000.exceptions.InterfaceError))


def sqlstate(fault: pg8000.exceptions.DatabaseError) -> str:
    """The five characters by which PostgreSQL names an error; empty where it gave none."""
    return str(_told(fault).get("C", ""))


def message(fault: Exception) -> str:
    """What PostgreSQL says of an error, in one sentence; of another, what it says itself."""
    return str(_told(fault).get("M", fault))


def _told(fault: Exception) -> dict[str, str]:
    """The fields of the server's error message; none where the fault is pg8000's own."""
    details: Any = fault.args[0] if fault.args else None
    return details if isinstance(details, dict) else {}
