"""The schedule of the local stack's batch job, in two files of the data folder.

The stack and `progress schedule` write them, and the query function shows administrators the state.
"""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from progress.adapters.cloud_scheduler import Schedule

BATCH = "progress-batch"
BATCH_INTERVAL_S = 300.0  # the same interval as in Cloud Scheduler

_CRON = "*/5 * * * *"
_UNKNOWN = 2  # the google.rpc.Code of a run that failed


class LastRun(msgspec.Struct, frozen=True):
    at: datetime
    succeeded: bool


def read(folder: Path) -> Schedule:
    is_paused = pause_file(folder).exists()
    last = _read_last_run(folder)
    is_due = last is not None and not is_paused
    return Schedule(
        name=BATCH,
        schedule=_CRON,
        state="PAUSED" if is_paused else "ENABLED",
        next_at=last.at + timedelta(seconds=BATCH_INTERVAL_S) if last and is_due else None,
        last_at=last.at if last else None,
        code=_UNKNOWN if last and not last.succeeded else 0,
    )


def pause_file(folder: Path) -> Path:
    return folder / "batch-paused"


def last_run_file(folder: Path) -> Path:
    return folder / "batch-last-run.json"


def _read_last_run(folder: Path) -> LastRun | None:
    try:
        return msgspec.json.decode(last_run_file(folder).read_bytes(), type=LastRun)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
