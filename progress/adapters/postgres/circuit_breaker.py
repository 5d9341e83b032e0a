"""A circuit breaker: while the database does not respond, calls fail immediately.

Three failures in a row open the breaker. The first request that arrives at least 1 s later probes
the database and waits for the result. If the probe succeeds, the breaker closes. If the probe
fails, the next probe may start 2 s after the failed probe started. While the breaker is open, all
other requests are rejected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from progress.adapters.request_scope import RequestScope
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable

_MAX_FAILURES = 3
_FIRST_PAUSE_S, _PAUSE_S = 1.0, 2.0
_PROBE_TIMEOUT_S = 1.0


class CircuitBreaker:
    """A breaker that closes when `probe` returns, and stays open if `probe` raises an error.

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
        """Close the breaker."""
        self.failures = 0
        if self.is_open:
            self.is_open, self._closed_at = False, time.monotonic()
            logs.write("INFO", "the database responds again")

    def record_failure(self, *, started_at: float) -> None:
        """Count a failure; open the breaker after the third in a row.

        If the call started before the breaker last closed, the earlier outage may have caused the
        failure. Such a failure is not counted.
        """
        if started_at < self._closed_at:
            return
        self.failures += 1
        if self.failures >= _MAX_FAILURES and not self.is_open:
            self.is_open = True
            self._next_probe_at = time.monotonic() + _FIRST_PAUSE_S
            logs.write("WARNING", "the database does not respond: queries are rejected")
            self._on_open()

    async def _run_probe(self) -> None:
        self._next_probe_at = time.monotonic() + _PAUSE_S
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._probe()
            self.record_success()
        except (DatabaseUnavailable, TimeoutError):
            return
        finally:
            self._probing = self._prober = None
