"""Dataflow's REST API: https://cloud.google.com/dataflow/docs/reference/rest."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import requests

from progress import settings
from progress.adapters.google_api import GoogleApi
from progress.errors import DataflowUnavailable, ProgressError

DONE, FAILED, CANCELLED = "JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"
ENDED = frozenset({DONE, FAILED, CANCELLED, "JOB_STATE_UPDATED", "JOB_STATE_DRAINED"})

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_DENIED, _NOT_FOUND, _EXISTS = 403, 404, 409
_ERROR = "JOB_MESSAGE_ERROR"


class Job(NamedTuple):
    """A job; its state is, for example, JOB_STATE_RUNNING."""

    id: str
    state: str


class Dataflow:
    """The jobs of a project and region."""

    def __init__(self, project: str, region: str) -> None:
        self._project, self._region = project, region
        self._place = f"--region={region} --project={project}"
        emulator = settings.current().dataflow_emulator_host
        self._api = GoogleApi("Dataflow", DataflowUnavailable, None if emulator else _SCOPE)
        host = emulator or "https://dataflow.googleapis.com"
        self._url = f"{host}/v1b3/projects/{project}/locations/{region}"

    def launch(
        self,
        name: str,
        template: str,
        parameters: Mapping[str, str],
        environment: Mapping[str, object],
    ) -> str:
        """Start a job of the Flex Template at a `gs://` path; return the job's ID.

        Active jobs have unique names. If an active job has this name, return its ID, because an
        earlier attempt started this job but did not get the response. If Dataflow rejects the
        job, raise a ProgressError that says what to do.
        """
        parameter = {"jobName": name, "containerSpecGcsPath": template, "parameters": parameters}
        response = self._request(
            *("POST", f"{self._url}/flexTemplates:launch"),
            json={"launchParameter": parameter | {"environment": environment}},
            allowed=(_NOT_FOUND, _EXISTS),
        )
        if response.status_code == _EXISTS:
            if job := self.find(name):
                return job.id
            raise ProgressError(f"Dataflow does not list its job {name}: run the rebuild again")
        if response.status_code == _NOT_FOUND:
            raise ProgressError(
                f"Dataflow did not find the template {template} or the project {self._project}: "
                f"check DATAFLOW_TEMPLATE ({_read_reason(response)})"
            )
        return str(response.json()["job"]["id"])

    def read_state(self, job_id: str) -> str:
        """Return the job's state, such as JOB_STATE_RUNNING."""
        return _read_job(self._request("GET", f"{self._url}/jobs/{job_id}").json()).state

    def find(self, name: str) -> Job | None:
        """Return the newest job that has this name, in any state."""
        pages = self._list(f"{self._url}/jobs", {"name": name})
        jobs = [job for page in pages for job in page.get("jobs", ()) if job["name"] == name]
        newest = max(jobs, key=lambda job: str(job.get("createTime", "")), default=None)
        return newest and _read_job(newest)

    def read_errors(self, job_id: str) -> list[str]:
        """Return the error messages of a job, the oldest one first."""
        pages = self._list(f"{self._url}/jobs/{job_id}/messages", {"minimumImportance": _ERROR})
        return [message["messageText"] for page in pages for message in page.get("jobMessages", ())]

    def page_of(self, job_id: str) -> str:
        """Return the address of the job's page in Google's console."""
        job = f"{self._region}/{job_id}?project={self._project}"
        return f"https://console.cloud.google.com/dataflow/jobs/{job}"

    def cancelling_command(self, job_id: str) -> str:
        return f"gcloud dataflow jobs cancel {job_id} {self._place}"

    def cancelling_execution_command(self, execution: str) -> str:
        """Return the command that cancels the execution of a Cloud Run job in the same region."""
        return f"gcloud run jobs executions cancel {execution} {self._place}"

    def listing_command(self, name: str) -> str:
        """Return the command that lists the jobs that have this name."""
        return f"gcloud dataflow jobs list --filter=name={name} {self._place}"

    def _list(self, url: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        while True:
            page = self._request("GET", url, params=params).json()
            yield page
            if "nextPageToken" not in page:
                return
            params = params | {"pageToken": page["nextPageToken"]}

    def _request(
        self, method: str, url: str, *, allowed: tuple[int, ...] = (), **more: Any
    ) -> requests.Response:
        response = self._api.request(method, url, allowed=(_DENIED, *allowed), **more)
        if response.status_code == _DENIED:
            raise ProgressError(
                f"Dataflow denies the request in {self._project}: {_read_reason(response)}; the "
                "caller needs roles/dataflow.developer, and roles/iam.serviceAccountUser on the "
                "workers' account"
            )
        return response


def _read_job(job: Mapping[str, Any]) -> Job:
    # A job that was just created has no state yet.
    return Job(str(job["id"]), str(job.get("currentState", "JOB_STATE_UNKNOWN")))


def _read_reason(response: requests.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
