"""Run the batch job every five minutes, and dumps beside it, unless the schedule is paused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from progress.adapters import local_schedule
from progress.adapters.cloud_scheduler import Schedule
from progress.adapters.local_schedule import BATCH, BATCH_INTERVAL_S, LastRun
from progress.errors import ProgressError
from progress.serve import data_folder
from progress.serve.data_folder import DataFolder

_DUMP_INTERVAL_S = 3_600.0


async def keep(folder: DataFolder, run_batch: Callable[[], Awaitable[bool]]) -> None:
    """Run the batch job every five minutes, except while the schedule is paused; never return."""
    while True:
        if not local_schedule.pause_file(folder.path).exists():
            at = datetime.now(UTC)
            last = LastRun(at, await run_batch())
            with data_folder.owner_only():
                local_schedule.last_run_file(folder.path).write_bytes(msgspec.json.encode(last))
        await asyncio.sleep(BATCH_INTERVAL_S)


async def keep_dumps(folder: DataFolder, run_dump: Callable[[], Awaitable[bool]]) -> None:
    """Start a run every hour, except while the schedule is paused; never return.

    The run dumps the log if its last dump is 20 hours old.
    """
    while True:
        if not local_schedule.pause_file(folder.path).exists():
            await run_dump()
        await asyncio.sleep(_DUMP_INTERVAL_S)


class LocalScheduler:
    """The schedule of a running stack, with the methods of `cloud_scheduler.Scheduler`.

    Raise StackError if no stack runs, and ProgressError if a name is not `progress-batch`.
    """

    def __init__(self, folder: DataFolder, run_batch: Callable[[], object]) -> None:
        data_folder.running(folder)
        self._folder = folder
        self._run_batch = run_batch

    def all(self) -> list[Schedule]:
        return [local_schedule.read(self._folder.path)]

    def pause(self, name: str) -> bool:
        """Pause the schedule; return False if it was already paused."""
        _check_name(name)
        if (file := local_schedule.pause_file(self._folder.path)).exists():
            return False
        file.touch(mode=0o600)
        return True

    def resume(self, name: str) -> bool:
        """Resume the schedule; return False if it was already enabled."""
        _check_name(name)
        if not (file := local_schedule.pause_file(self._folder.path)).exists():
            return False
        file.unlink(missing_ok=True)
        return True

    def run(self, name: str) -> None:
        _check_name(name)
        self._run_batch()


def _check_name(name: str) -> None:
    if name != BATCH:
        raise ProgressError(f"there is no schedule {name}: the local stack only has {BATCH}")
