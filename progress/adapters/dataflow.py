"""Dataflow's REST API: https://cloud.google.com/dataflow/docs/reference/rest."""

from collections.abc import Mapping
from typing import Any

import requests

from progress import settings
from progress.adapters.google_api import GoogleApi
from progress.errors import DataflowUnavailable, ProgressError

DONE, FAILED, CANCELLED = "JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"
ENDED = frozenset({DONE, FAILED, CANCELLED, "JOB_STATE_UPDATED", "JOB_STATE_DRAINED"})

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_DENIED, _NOT_FOUND, _EXISTS = 403, 404, 409
_ERROR = "JOB_MESSAGE_ERROR"


class Dataflow:
    """The jobs of a project and region."""

    def __init__(self, project: str, region: str) -> None:
        self._project, self._region = project, region
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
        earlier attempt has started the job, and the response was lost. Raise ProgressError with
        what to do if Dataflow rejects the job.
        """
        job = {
            "jobName": name,
            "containerSpecGcsPath": template,
            "parameters": parameters,
            "environment": environment,
        }
        response = self._request(
            *("POST", f"{self._url}/flexTemplates:launch"),
            json={"launchParameter": job},
            allowed=(_NOT_FOUND, _EXISTS),
        )
        if response.status_code == _EXISTS:
            return self._find(name)
        if response.status_code == _NOT_FOUND:
            raise ProgressError(
                f"Dataflow did not find the template {template} or the project {self._project}: "
                f"check DATAFLOW_TEMPLATE ({_read_reason(response)})"
            )
        return str(response.json()["job"]["id"])

    def read_state(self, job_id: str) -> str:
        """Return the job's state, such as JOB_STATE_RUNNING."""
        job = self._request("GET", f"{self._url}/jobs/{job_id}").json()
        # A new job has no state for a short time.
        return str(job.get("currentState", "JOB_STATE_UNKNOWN"))

    def read_errors(self, job_id: str) -> list[str]:
        """Return the error messages of a job, the oldest one first."""
        url, params = f"{self._url}/jobs/{job_id}/messages", {"minimumImportance": _ERROR}
        messages: list[str] = []
        while True:
            page = self._request("GET", url, params=params).json()
            messages += [message["messageText"] for message in page.get("jobMessages", ())]
            if "nextPageToken" not in page:
                return messages
            params["pageToken"] = page["nextPageToken"]

    def page_of(self, job_id: str) -> str:
        """Return the address of the job's page in Google's console."""
        job = f"{self._region}/{job_id}?project={self._project}"
        return f"https://console.cloud.google.com/dataflow/jobs/{job}"

    def cancelling_command(self, job_id: str) -> str:
        """Return the command that cancels the job."""
        place = f"--region={self._region} --project={self._project}"
        return f"gcloud dataflow jobs cancel {job_id} {place}"

    def _find(self, name: str) -> str:
        params = {"name": name, "filter": "ACTIVE"}
        for job in self._request("GET", f"{self._url}/jobs", params=params).json().get("jobs", ()):
            if job["name"] == name:
                return str(job["id"])
        raise ProgressError(f"the Dataflow job {name} has already ended: run the rebuild again")

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


def _read_reason(response: requests.Response) -> str:
    """Return the message of an error response."""
    try:
        return str(response.json()["error"]["message"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
