"""Run the local stack's batch job every five minutes, unless its schedule is paused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from progress.adapters.cloud_scheduler import Schedule
from progress.errors import ProgressError
from progress.local import data_folder, stack
from progress.local.data_folder import DataFolder

BATCH = "progress-batch"
BATCH_INTERVAL_S = 300.0  # the same interval as in Cloud Scheduler

_CRON = "*/5 * * * *"
_UNKNOWN = 2  # the google.rpc.Code of a run that failed


class _LastRun(msgspec.Struct, frozen=True):
    at: datetime
    succeeded: bool


async def keep(folder: DataFolder, run_batch: Callable[[], Awaitable[bool]]) -> None:
    """Run the batch job every five minutes, except while the schedule is paused; never return.

    `run_batch` returns whether the run succeeded.
    """
    while True:
        if not _pause_file(folder).exists():
            at = datetime.now(UTC)
            last = _LastRun(at, await run_batch())
            with data_folder.owner_only():
                _last_run_file(folder).write_bytes(msgspec.json.encode(last))
        await asyncio.sleep(BATCH_INTERVAL_S)


class LocalScheduler:
    """The schedule of a running stack, with the methods of `cloud_scheduler.Scheduler`.

    Raise StackError if no stack runs, and ProgressError if a name is not `progress-batch`.
    """

    def __init__(self, folder: DataFolder, run_batch: Callable[[], object]) -> None:
        stack.running(folder)
        self._folder = folder
        self._run_batch = run_batch

    def all(self) -> list[Schedule]:
        is_paused = _pause_file(self._folder).exists()
        last = self._read_last_run()
        is_due = last is not None and not is_paused
        return [
            Schedule(
                name=BATCH,
                schedule=_CRON,
                state="PAUSED" if is_paused else "ENABLED",
                next_at=last.at + timedelta(seconds=BATCH_INTERVAL_S) if last and is_due else None,
                last_at=last.at if last else None,
                code=_UNKNOWN if last and not last.succeeded else 0,
            )
        ]

    def pause(self, name: str) -> bool:
        """Pause the schedule; return False if it was already paused."""
        _check_name(name)
        if (file := _pause_file(self._folder)).exists():
            return False
        file.touch(mode=0o600)
        return True

    def resume(self, name: str) -> bool:
        """Resume the schedule; return False if it was already enabled."""
        _check_name(name)
        if not (file := _pause_file(self._folder)).exists():
            return False
        file.unlink(missing_ok=True)
        return True

    def run(self, name: str) -> None:
        """Run the batch job now, even if the schedule is paused."""
        _check_name(name)
        self._run_batch()

    def _read_last_run(self) -> _LastRun | None:
        try:
            return msgspec.json.decode(_last_run_file(self._folder).read_bytes(), type=_LastRun)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def _check_name(name: str) -> None:
    if name != BATCH:
        raise ProgressError(f"there is no schedule {name}: the local stack only has {BATCH}")


def _pause_file(folder: DataFolder) -> Path:
    return folder.path / "batch-paused"


def _last_run_file(folder: DataFolder) -> Path:
    return folder.path / "batch-last-run.json"
