"""What administrators see of Google Cloud, or of one machine in its place.

These are the counts of undelivered messages and the states of the schedules, cached for 30 seconds.
On one machine, where no message waits, there are no counts.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from progress.adapters import cloud_scheduler, local_schedule
from progress.adapters.cloud_scheduler import Schedule
from progress.adapters.pubsub import undelivered
from progress.adapters.telemetry import logs
from progress.errors import ProgressError
from progress.settings import LOCAL_PROJECT, Settings

_TTL_S = 30.0
_TIMEOUT_S = 3.0  # includes the time to fetch an access token

_T = TypeVar("_T")


class Outside:
    def __init__(self, settings: Settings) -> None:
        project, emulator = settings.pubsub_project_id, settings.pubsub_emulator_host
        is_on_one_machine = bool(settings.serve_commands_url)
        self.undelivered = Latest(
            lambda: [] if is_on_one_machine else undelivered.count(project, emulator), ttl_s=_TTL_S
        )
        self.schedules: Latest[list[Schedule] | None]
        is_in_cloud = project != LOCAL_PROJECT and not is_on_one_machine
        if is_in_cloud or settings.cloud_scheduler_emulator_host:
            region = settings.scheduler_region
            self.schedules = Latest(
                lambda: cloud_scheduler.Scheduler(project, region).all(), ttl_s=_TTL_S
            )
        else:
            folder = Path(settings.progress_data_dir)  # a container has none
            self.schedules = Latest(
                lambda: [local_schedule.read(folder)] if folder.is_dir() else None, ttl_s=0
            )


class Latest(Generic[_T]):
    """The latest result of a call; concurrent callers share one call."""

    def __init__(self, read: Callable[[], _T], *, ttl_s: float) -> None:
        self._read, self._ttl_s = read, ttl_s
        self._value: _T | None = None
        self._expires_at = 0.0
        self._fetching = asyncio.Lock()

    async def get(self) -> _T | None:
        """Return the result; None if the call fails or takes more than 3 s."""
        async with self._fetching:
            if time.monotonic() >= self._expires_at:
                self._value = await self._fetch()
                self._expires_at = time.monotonic() + self._ttl_s
        return self._value

    async def _fetch(self) -> _T | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await asyncio.to_thread(self._read)
        except ProgressError as error:
            logs.write("WARNING", f"{error}")
        except TimeoutError:
            logs.write("WARNING", f"Google Cloud does not respond within {_TIMEOUT_S} s")
        return None
