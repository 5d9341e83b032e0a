"""The connections of redis-py, as Progress configures them.

Import this module at first use: importing redis-py takes 150 ms, because it imports OpenTelemetry.

Nothing is retried, because a caller continues without Redis. Replies have the form of RESP2.
"""

import asyncio
import socket
import ssl
from typing import Any

import hiredis
import redis.asyncio
from redis._parsers import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, MasterDownError, ReadOnlyError
from redis.retry import Retry

from progress.adapters.redis.url import Address
from progress.errors import RedisUnavailable

# The first words of further answers: Redis accepts no writes, because it cannot save them or has
# too few replicas.
_OUTAGES = ("MISCONF", "NOREPLICAS")


class _BlockingTls(redis.Connection):
    """A connection that trusts the authorities of `tls`.

    redis-py's own class also trusts the system's authorities, even if the URL names authorities.
    """

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)  # type: ignore[no-untyped-call] # theirs

    def _connect(self) -> socket.socket:
        plain = super()._connect()  # type: ignore[no-untyped-call] # theirs
        return self._tls.wrap_socket(plain, server_hostname=self.host)


class _Tls(redis.asyncio.SSLConnection):
    """A connection that trusts the authorities of `tls`, for the same reason."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = tls


def create_blocking(address: Address, timeout_s: float) -> redis.Redis:
    """Return a client that waits at most `timeout_s` for a connection, and for data of a reply."""
    kind: type[redis.Connection | redis.UnixDomainSocketConnection] = redis.Connection
    if address.path is not None:
        kind = redis.UnixDomainSocketConnection
    elif address.tls:
        kind = _BlockingTls
    pool = redis.ConnectionPool(
        connection_class=kind,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **_options(address),
    )
    return redis.Redis.from_pool(pool)


def create_async(address: Address) -> AbstractConnection:
    """Return a connection that is not open yet. It has no timeouts: the caller limits its time."""
    return _async_class(address)(
        socket_connect_timeout=None,
        socket_timeout=None,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(address),
    )


def take_over(
    connection: AbstractConnection, protocol: asyncio.Protocol
) -> tuple[asyncio.WriteTransport, asyncio.BaseProtocol]:
    """Let the protocol read an open connection; return the transport and its former protocol.

    Each reply would pass a task and six functions of redis-py. With `create_parser`, reading takes
    less than half of the time.
    """
    writer = connection._writer  # noqa: SLF001 - there is no function for it
    if writer is None:
        raise RedisUnavailable("the connection to Redis was closed")
    before = writer.transport.get_protocol()
    writer.transport.set_protocol(protocol)
    return writer.transport, before


def create_parser() -> hiredis.Reader:
    """Return a parser of replies; a rejected command's reply is an exception of redis-py."""
    return hiredis.Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error)


def is_outage(error: Exception) -> bool:
    """Return whether this answer of Redis means that it cannot serve: for example, a failover.

    After a failover, the connections to the old primary stay open. It is a replica now, and rejects
    every write. A new connection may reach the new primary.
    """
    return isinstance(error, ReadOnlyError | MasterDownError) or str(error).startswith(_OUTAGES)


def _async_class(address: Address) -> type[AbstractConnection]:
    if address.path is not None:
        return redis.asyncio.UnixDomainSocketConnection
    return _Tls if address.tls else redis.asyncio.Connection


def _options(address: Address) -> dict[str, Any]:
    options: dict[str, Any] = {"db": address.database, "protocol": 2, "driver_info": None}
    if address.password:
        options |= {"username": address.user, "password": address.password}
    if address.path is not None:
        return options | {"path": address.path}
    if address.tls:
        options["tls"] = address.tls
    return options | {"host": address.host, "port": address.port}
