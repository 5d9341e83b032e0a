"""A fake Cloud Scheduler, which Google's client library calls over gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
from google.cloud.scheduler_v1 import types
from google.protobuf import timestamp_pb2

from tests.support.fake_publisher import serve_grpc

JOBS = {
    "progress-batch": "*/5 * * * *",
    "progress-batch-large": "15 0 1 * *",
    "progress-backup": "0 */6 * * *",
}
LAST = datetime(2026, 11, 20, 2, tzinfo=UTC)

Request = Any


class CloudScheduler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
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

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        service, _, method = details.method.lstrip("/").partition("/")
        if service != "google.cloud.scheduler.v1.CloudScheduler":
            return None
        request = getattr(types, f"{method}Request")

        def answer(request: Request, context: grpc.ServicerContext) -> Any:
            self.calls.append(f"{method} {getattr(request, 'name', '').rpartition('/')[2]}".strip())
            if self.refusal:
                context.abort(self.refusal, "no")
            return getattr(self, method)(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request.deserialize,
            response_serializer=lambda it: type(it).serialize(it),
        )

    def ListJobs(self, request: Request, _: grpc.ServicerContext) -> Any:  # noqa: N802 - Google's name
        jobs = list(self.jobs.values()) if request.parent == self.parent else []
        at = int(request.page_token or 0)  # one job per page
        more = str(at + 1) if at + 1 < len(jobs) else ""
        return types.ListJobsResponse(jobs=jobs[at : at + 1], next_page_token=more)

    def PauseJob(self, request: Request, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._switch(request, context, types.Job.State.ENABLED, types.Job.State.PAUSED)

    def ResumeJob(self, request: Request, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._switch(request, context, types.Job.State.PAUSED, types.Job.State.ENABLED)

    def _switch(self, request: Request, context: grpc.ServicerContext, old: Any, new: Any) -> Any:
        job = self._find(request, context)
        if job.state != old:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is in another state")
        job.state = new
        return job

    def _find(self, request: Request, context: grpc.ServicerContext) -> Any:
        job = {job.name: job for job in self.jobs.values()}.get(request.name)
        if job is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Job not found.")
        return job

    GetJob = RunJob = _find


@contextmanager
def serve(project: str = "p", region: str = "europe-west1") -> Iterator[tuple[str, CloudScheduler]]:
    scheduler = CloudScheduler(project, region)
    with serve_grpc(scheduler) as address:
        yield address, scheduler
