"""Cloud Scheduler: list, pause, resume and run schedules."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from progress import settings
from progress.errors import ProgressError

if TYPE_CHECKING:
    from google.cloud.scheduler_v1 import CloudSchedulerClient

_TIMEOUT_S = 20.0
_ROLE = "roles/cloudscheduler.admin"


class Schedule(msgspec.Struct, frozen=True):
    """A Cloud Scheduler job; `code` is the google.rpc.Code of the last run, 0 for success."""

    name: str
    schedule: str
    state: str
    next_at: datetime | None
    last_at: datetime | None
    code: int


class Scheduler:
    """The schedules of a region; if Google rejects a call, a ProgressError says what to do."""

    def __init__(self, project: str, region: str) -> None:
        self._parent = f"projects/{project}/locations/{region}"
        with _translate_errors(f"the schedules of {self._parent}"):
            self._client = _client()

    def all(self) -> list[Schedule]:
        """Return every schedule, sorted by name."""
        with _translate_errors(f"the schedules of {self._parent}"):
            jobs = self._client.list_jobs(parent=self._parent, retry=None, timeout=_TIMEOUT_S)
            return sorted(map(_schedule, jobs), key=lambda schedule: schedule.name)

    def pause(self, name: str) -> bool:
        """Pause a schedule; return False if it was already paused."""
        return self._switch(name, "PAUSED", "pause_job")

    def resume(self, name: str) -> bool:
        """Resume a schedule; return False if it was already enabled."""
        return self._switch(name, "ENABLED", "resume_job")

    def run(self, name: str) -> None:
        """Run a schedule now, even if it is paused."""
        self._call("run_job", name)

    def _switch(self, name: str, state: str, method: str) -> bool:
        # Cloud Scheduler rejects a request to pause a paused job.
        if self._call("get_job", name).state.name == state:
            return False
        self._call(method, name)
        return True

    def _call(self, method: str, name: str) -> Any:
        path = f"{self._parent}/jobs/{name}"
        with _translate_errors(f"{name} in {self._parent}"):
            return getattr(self._client, method)(name=path, retry=None, timeout=_TIMEOUT_S)


def _client() -> "CloudSchedulerClient":
    from google.cloud.scheduler_v1 import CloudSchedulerClient  # takes 500 ms

    emulator = settings.current().cloud_scheduler_emulator_host
    if emulator is None:
        return CloudSchedulerClient()
    import grpc
    from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
        CloudSchedulerGrpcTransport,
    )

    return CloudSchedulerClient(
        transport=CloudSchedulerGrpcTransport(channel=grpc.insecure_channel(emulator))
    )


@contextlib.contextmanager
def _translate_errors(target: str) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError, NotFound, PermissionDenied
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        yield
    except NotFound:
        raise ProgressError(
            f"there is no {target}: `progress schedule list` names all schedules"
        ) from None
    except PermissionDenied:
        raise ProgressError(f"{target}: permission denied; the caller needs {_ROLE}") from None
    except GoogleAPICallError as error:
        raise ProgressError(f"{target}: Cloud Scheduler: {error.message}; try again") from error
    except DefaultCredentialsError:
        raise ProgressError(
            "there are no credentials: run `gcloud auth login --update-adc`"
        ) from None
    except GoogleAuthError as error:
        raise ProgressError(
            f"the credentials are invalid ({error}): run `gcloud auth login --update-adc`"
        ) from None


def _schedule(job: Any) -> Schedule:
    return Schedule(
        name=job.name.rpartition("/")[2],
        schedule=job.schedule,
        state=job.state.name,
        next_at=_to_datetime(job.schedule_time),
        last_at=_to_datetime(job.last_attempt_time),
        code=job.status.code,
    )


def _to_datetime(value: datetime | None) -> datetime | None:
    """Return a plain datetime, because the library's own type cannot be encoded as JSON."""
    return value and datetime.fromtimestamp(value.timestamp(), value.tzinfo)
