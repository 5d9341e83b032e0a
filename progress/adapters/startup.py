"""Start-up on Cloud Run, where a fresh instance reaches nothing private for a minute or more.

Until the process is `TIMEOUT_S` old, a job retries its connection, and a function fails its
start-up probe. After that both go on with whatever there is.
"""

import socket
import threading
import time
from functools import cache
from typing import TYPE_CHECKING

from progress import settings
from progress.adapters.postgres import url
from progress.adapters.telemetry import logs
from progress.errors import Unavailable
from progress.settings import Settings

if TYPE_CHECKING:
    import tenacity

    from progress.adapters.postgres.database import Connection

TIMEOUT_S = 120.0
PATH = "/startup"

_PAUSE_S = 1.0
_CONNECT_TIMEOUT_S = 1.0  # a lost SYN is sent again after a second: by the next probe
_CONNECTOR_PORT = 3307  # of Cloud SQL, where its connector calls
_STARTED = time.monotonic()


def is_over() -> bool:
    """Tell whether the process is too old to wait for its network."""
    return time.monotonic() > _STARTED + TIMEOUT_S


def connect(where: Settings | str, *, name: str) -> "Connection":
    """Connect to PostgreSQL; a Cloud Run job retries while it starts.

    Unavailable at once if the server itself refuses: its network is there.
    """
    from progress.adapters.postgres import (
        database,  # it brings pg8000 along, which the query function does not need
    )

    if settings.current().cloud_run_job is None:
        return database.connect(where, name=name)
    import tenacity  # 40 ms: only where it is used

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_no_network),
        stop=lambda _: is_over(),
        wait=tenacity.wait_fixed(_PAUSE_S),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(database.connect, where, name=name)


def _is_no_network(error: BaseException) -> bool:
    import pg8000.exceptions  # as above

    from progress.adapters.postgres import database

    if not isinstance(error, Unavailable):
        return False
    cause = error.__cause__
    return not isinstance(cause, pg8000.exceptions.DatabaseError) or database.is_passing(cause)


def _log_retry(state: "tenacity.RetryCallState") -> None:
    error = state.outcome and state.outcome.exception()
    logs.write("WARNING", f"connecting again: {error}", operation="startup")


class Probe:
    """Start-up probe: passes once every address has accepted a TCP connection, or time is over.

    One thread connects at a time, for a second at most, and none after the probe has passed: a
    stranger who asks can hold nothing.
    """

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self._pending = addresses
        self._lock = threading.Lock()

    def passes(self) -> bool:
        """Try the addresses that have not accepted yet."""
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
    """The probe of this process, made from its settings."""
    return Probe(addresses(settings.current()))


def addresses(given: Settings) -> list[tuple[str, int]]:
    """Host and port of the database and of Redis; a Unix socket is always reached."""
    found: list[tuple[str, int]] = []
    if given.database_url:
        at = url.address(given.database_url)
        found += [] if at.host.startswith("/") else [(at.host, at.port)]
    elif given.cloud_sql_address:
        found.append((given.cloud_sql_address, _CONNECTOR_PORT))
    if given.redis_url:
        from progress.adapters.redis.url import address  # ingest has no Redis

        redis = address(given.redis_url)
        found += [] if redis.path else [(redis.host, redis.port)]
    return found


def status(path: str) -> int:
    """Answer a GET of a function that has no other: 503 only to a start-up probe that fails."""
    return 503 if path == PATH and not probe().passes() else 200
