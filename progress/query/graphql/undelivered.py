"""Counts of undelivered Pub/Sub messages, shown to administrators and cached for 30 seconds."""

import asyncio
import time

from progress.adapters.pubsub import undelivered
from progress.adapters.pubsub.undelivered import Undelivered
from progress.adapters.telemetry import logs
from progress.errors import PubSubUnavailable
from progress.settings import Settings

_TTL_S = 30.0
_TIMEOUT_S = 3.0  # includes the time to fetch an access token


class UndeliveredMessages:
    """The latest counts; concurrent callers share one request to Cloud Monitoring."""

    def __init__(self, settings: Settings) -> None:
        self._project = settings.pubsub_project_id
        self._emulator = settings.pubsub_emulator_host
        self._counts: list[Undelivered] | None = None
        self._expires_at = 0.0
        self._fetching = asyncio.Lock()

    async def get(self) -> list[Undelivered] | None:
        """Return the count of each subscription; None if Cloud Monitoring does not respond."""
        async with self._fetching:
            if time.monotonic() >= self._expires_at:
                self._counts = await self._fetch()
                self._expires_at = time.monotonic() + _TTL_S
        return self._counts

    async def _fetch(self) -> list[Undelivered] | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await asyncio.to_thread(undelivered.count, self._project, self._emulator)
        except PubSubUnavailable as error:
            logs.write("WARNING", f"{error}")
        except TimeoutError:
            logs.write("WARNING", f"Cloud Monitoring does not respond within {_TIMEOUT_S} s")
        return None
