"""The schedules of Cloud Scheduler: listed, held, let go, run now."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from progress import settings
from progress.errors import ProgressError

if TYPE_CHECKING:
    from google.cloud.scheduler_v1 import CloudSchedulerClient

_PATIENCE = 20.0  # seconds
_RIGHT = "roles/cloudscheduler.admin"


class Schedule(msgspec.Struct, frozen=True):
    """A job of Cloud Scheduler; `code` is google.rpc.Code of its last run, 0 for a good one."""

    name: str
    schedule: str
    state: str
    next_at: datetime | None
    last_at: datetime | None
    code: int


class Scheduler:
    """The schedules of a region of a project; ProgressError says what to do about a refusal."""

    def __init__(self, project: str, region: str) -> None:
        self._where = f"projects/{project}/locations/{region}"
        with _told(f"the schedules of {self._where}"):
            self._client = _client()

    def all(self) -> list[Schedule]:
        """Every schedule, by name."""
        with _told(f"the schedules of {self._where}"):
            found = self._client.list_jobs(parent=self._where, retry=None, timeout=_PATIENCE)
            return sorted(map(_schedule, found), key=lambda each: each.name)

    def pause(self, name: str) -> bool:
        """Hold it; False where it was held already."""
        return self._switch(name, "PAUSED", "pause_job")

    def resume(self, name: str) -> bool:
        """Let it go on; False where it did already."""
        return self._switch(name, "ENABLED", "resume_job")

    def run(self, name: str) -> None:
        """Run it now, whether it is held or not."""
        self._call("run_job", name)

    def _switch(self, name: str, wanted: str, method: str) -> bool:
        # Cloud Scheduler refuses to pause what is paused.
        if self._call("get_job", name).state.name == wanted:
            return False
        self._call(method, name)
        return True

    def _call(self, method: str, name: str) -> Any:
        full = f"{self._where}/jobs/{name}"
        with _told(f"{name} in {self._where}"):
            return getattr(self._client, method)(name=full, retry=None, timeout=_PATIENCE)


def _client() -> "CloudSchedulerClient":
    from google.cloud.scheduler_v1 import CloudSchedulerClient  # half a second: at first use

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
def _told(what: str) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError, NotFound, PermissionDenied
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        yield
    except NotFound:
        raise ProgressError(
            f"there is no {what}: `progress schedule list` names those that are"
        ) from None
    except PermissionDenied:
        raise ProgressError(f"{what}: that is not allowed; it takes {_RIGHT}") from None
    except GoogleAPICallError as fault:
        raise ProgressError(f"{what}: Cloud Scheduler says {fault.message}; try again") from fault
    except DefaultCredentialsError:
        raise ProgressError(
            "there are no credentials: run `gcloud auth application-default login`"
        ) from None
    except GoogleAuthError as fault:
        raise ProgressError(
            f"the credentials are no good ({fault}): run `gcloud auth application-default login`"
        ) from None


def _schedule(job: Any) -> Schedule:
    return Schedule(
        name=job.name.rpartition("/")[2],
        schedule=job.schedule,
        state=job.state.name,
        next_at=_moment(job.schedule_time),
        last_at=_moment(job.last_attempt_time),
        code=job.status.code,
    )


def _moment(value: datetime | None) -> datetime | None:
    """A plain one: the library's own kind is JSON to nobody."""
    return value and datetime.fromtimestamp(value.timestamp(), value.tzinfo)
