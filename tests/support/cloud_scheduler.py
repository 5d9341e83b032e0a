"""A fake Cloud Scheduler, which Google's client library calls over gRPC."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf import timestamp_pb2

from tests.support.fake_publisher import describe, serve_grpc

JOBS = {
    "progress-batch": "*/5 * * * *",
    "progress-batch-large": "15 0 1 * *",
    "progress-backup": "0 */6 * * *",
}
LAST = datetime(2026, 11, 20, 2, tzinfo=UTC)


class CloudScheduler:
    def __init__(self, project: str, region: str) -> None:
        self.parent = f"projects/{project}/locations/{region}"
        self.calls: list[str] = []
        self.refusal: grpc.StatusCode | None = None
        self.jobs = {
            name: types.Job(name=f"{self.parent}/jobs/{name}", schedule=schedule, state="ENABLED")
            for name, schedule in JOBS.items()
        }
        failed = self.jobs["progress-batch"]
        failed.last_attempt_time = timestamp_pb2.Timestamp(seconds=int(LAST.timestamp()))
        failed.status.code = 4

    def describe(self) -> grpc.GenericRpcHandler:
        enabled, paused = types.Job.State.ENABLED, types.Job.State.PAUSED
        self._methods: dict[str, Callable[[Any, Any], Any]] = {
            "ListJobs": self._list,
            **dict.fromkeys(("GetJob", "RunJob"), self._find),
            "PauseJob": partial(self._switch, old=enabled, new=paused),
            "ResumeJob": partial(self._switch, old=paused, new=enabled),
        }
        answers = {name: partial(self._answer, name) for name in self._methods}
        return describe("google.cloud.scheduler.v1.CloudScheduler", types, **answers)

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls.append(f"{method} {getattr(request, 'name', '').rpartition('/')[2]}".strip())
        if self.refusal:
            context.abort(self.refusal, "no")
        return self._methods[method](request, context)

    def _list(self, request: Any, _: grpc.ServicerContext) -> Any:
        jobs = list(self.jobs.values()) if request.parent == self.parent else []
        at = int(request.page_token or 0)  # one job per page
        more = str(at + 1) if at + 1 < len(jobs) else ""
        return types.ListJobsResponse(jobs=jobs[at : at + 1], next_page_token=more)

    def _switch(self, request: Any, context: grpc.ServicerContext, old: Any, new: Any) -> Any:
        job = self._find(request, context)
        if job.state != old:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is in another state")
        job.state = new
        return job

    def _find(self, request: Any, context: grpc.ServicerContext) -> Any:
        job = {job.name: job for job in self.jobs.values()}.get(request.name)
        if job is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Job not found.")
        return job


@contextmanager
def serve(project: str = "p", region: str = "europe-west1") -> Iterator[tuple[str, CloudScheduler]]:
    scheduler = CloudScheduler(project, region)
    with serve_grpc(scheduler.describe()) as address:
        yield address, scheduler
