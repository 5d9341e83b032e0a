"""Start-up on Cloud Run, where a new instance has no private network for a minute or more.

Until the process is `TIMEOUT_S` seconds old, a job without a network retries its connection, and a
function without a network fails its start-up probe. After this time, the job fails, and the
function's probe passes anyway.
"""

import socket
import threading
import time
from functools import cache
from typing import TYPE_CHECKING

from progress.adapters.postgres import url
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, SettingsError
from progress.settings import Settings, current

if TYPE_CHECKING:
    import tenacity

    from progress.adapters.postgres.database import Connection

TIMEOUT_S = 120.0
PATH = "/startup"

_PAUSE_S = 1.0
# A longer wait would only let TCP retransmit a lost SYN; the next probe sends a new SYN anyway.
_CONNECT_TIMEOUT_S = 1.0
_CONNECTOR_PORT = 3307  # the port of Cloud SQL that the connector uses
_STARTED = time.monotonic()


def is_over() -> bool:
    """Return whether the process is too old to wait for its network."""
    return time.monotonic() > _STARTED + TIMEOUT_S


def connect(target: Settings | str, *, name: str) -> "Connection":
    """Connect to PostgreSQL; retry while a Cloud Run job starts up.

    Raise DatabaseUnavailable immediately if the server itself rejects the connection, or if it is a
    pooler that does not keep sessions, because then the network works.
    """
    # Imported late, because `database` imports pg8000, which the query function does not need.
    from progress.adapters.postgres import database

    if current().cloud_run_job is None:
        return database.connect(target, name=name)
    import tenacity  # takes 40 ms

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_no_network),
        stop=lambda _: is_over(),
        wait=tenacity.wait_fixed(_PAUSE_S),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(database.connect, target, name=name)


def _is_no_network(error: BaseException) -> bool:
    from progress.adapters.postgres import database  # as above

    if not isinstance(error, DatabaseUnavailable) or isinstance(error.__cause__, SettingsError):
        return False
    failure = error.__cause__ and database.read_failure(error.__cause__)
    return not failure or failure.is_transient or not failure.is_refusal


def _log_retry(state: "tenacity.RetryCallState") -> None:
    error = state.outcome and state.outcome.exception()
    logs.write("WARNING", f"connecting again: {error}", operation="startup")


class Probe:
    """A start-up probe; it passes once each address has accepted a connection, or after a timeout.

    Only one thread opens TCP connections at a time, and waits for at most a second per address.
    After the probe has passed, no thread connects. A stranger who calls the probe therefore cannot
    exhaust threads or sockets.
    """

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self._pending = addresses
        self._lock = threading.Lock()

    def passes(self) -> bool:
        """Connect to the pending addresses; return whether the probe passes."""
        if not self._pending or is_over():
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            while self._pending and _accepts(self._pending[0]):
                del self._pending[0]
        finally:
            self._lock.release()
        return not self._pending


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


@cache
def probe() -> Probe:
    return Probe(addresses(current()))


def addresses(settings: Settings) -> list[tuple[str, int]]:
    """Return host and port of the database and of Redis; Unix sockets are left out."""
    tcp: list[tuple[str, int]] = []
    if settings.database_url:
        address = url.parse_url(settings.database_url)
        tcp += [] if address.host.startswith("/") else [(address.host, address.port)]
    elif settings.cloud_sql_address:
        tcp.append((settings.cloud_sql_address, _CONNECTOR_PORT))
    if settings.redis_url:
        # Imported late, because ingest does not use Redis.
        from progress.adapters.redis.url import parse_url

        redis = parse_url(settings.redis_url)
        tcp += [] if redis.path else [(redis.host, redis.port)]
    return tcp


def status(path: str) -> int:
    """Return the status of a GET on a function: 503 for a failed start-up probe, else 200."""
    return 503 if path == PATH and not probe().passes() else 200
