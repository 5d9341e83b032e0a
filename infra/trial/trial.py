"""Test a new environment: a learner's day, the schedules, a signed URL and an operation.

    trial.py --project P --address URL

GitHub signs the token of the trial's learner, whose id is the token's subject. Each step waits
until it sees its result. A failure says what to look at.
"""

import hashlib
import json
import os
import re
import sys
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "release"))

import day
import environments
import exit_status
import gcloud
from day import NotYet, wait
from exit_status import Failed, log
from names import RELEASE_JOB
from smoke import Green, open_response

_GCLOUD_TIMEOUT_S = 300.0
_RELEASE_JOB_TIMEOUT_S = 1_200.0

# How long a step waits.
_SCHEDULE_S = 900.0
_EXPORT_S = 600.0

_START_EXPORT = "mutation ($key: ID!) { exportUser(idempotencyKey: $key) { id } }"
_EXPORT = "query ($id: ID!) { operation(id: $id) { state error download { url sha256 } } }"


def main() -> int:
    return exit_status.run("Test a new environment.", ("project", "address"), _run)


def _run(project: str, address: str) -> None:
    Green(address, token=None).check()
    log(f"{address} is ready, and rejects an unauthenticated request")
    cloud = gcloud.Cloud(
        project,
        environments.read("trial")["region"],
        timeout_s=_GCLOUD_TIMEOUT_S,
        job_timeout_s=_RELEASE_JOB_TIMEOUT_S,
    )
    now = datetime.now(UTC).isoformat()
    leaver = f"trial-{now}"  # is erased; the id of an erased learner can never be used again
    day.live(project, address, _sign_in, leaver)
    _run_schedules(Schedules(project, cloud.region))
    _export(project, address, now)
    advice = f"look at the log of the newest execution of {RELEASE_JOB}"
    _execute(cloud, f"`progress check` found a defect: {advice}", "check")
    log("the log is complete and fits the read models")
    advice += ", at the logs of progress-project, and at `progress operations list`"
    _execute(cloud, f"the erasure of {leaver} failed: {advice}", "erase", leaver, "--yes")
    log(f"the operation that erases {leaver} has succeeded")


@dataclass(frozen=True)
class Schedules:
    """The schedules of a project and region, and the executions of the jobs that they start."""

    project: str
    region: str

    def find_all(self) -> list[dict[str, Any]]:
        return list(self._read("scheduler", "jobs", "list", f"--location={self.region}"))

    def run(self, name: str) -> None:
        self._call("scheduler", "jobs", "run", name, f"--location={self.region}")

    def describe(self, name: str) -> dict[str, Any]:
        words = ("scheduler", "jobs", "describe", name, f"--location={self.region}")
        return dict(self._read(*words))

    def find_executions(self, job: str) -> dict[str, dict[str, Any]]:
        """Return the condition `Completed` of each execution of the job, by execution."""
        words = ("run", "jobs", "executions", "list", f"--job={job}", f"--region={self.region}")
        return {
            execution["metadata"]["name"]: _find_completed(execution)
            for execution in self._read(*words)
        }

    def _read(self, *words: str) -> Any:
        return json.loads(self._call(*words, "--format=json"))

    def _call(self, *words: str) -> str:
        return gcloud.run((*words, f"--project={self.project}", "--quiet"), _GCLOUD_TIMEOUT_S)


def _run_schedules(schedules: Schedules) -> None:
    """Run each schedule once; wait until its call and the job that it starts have succeeded."""
    waiting = []
    for schedule in schedules.find_all():
        job = _find_job(schedule)
        before = set(schedules.find_executions(job)) if job else set()
        schedules.run(_name(schedule))
        waiting.append((schedule, before))
    if not waiting:
        raise Failed("there are no schedules: look at infra/terraform/scheduler.tf")
    for schedule, before in waiting:
        _await_schedule(schedules, schedule, before)
        log(f"the schedule {_name(schedule)} has succeeded")


def _await_schedule(schedules: Schedules, schedule: dict[str, Any], before: set[str]) -> None:
    """Wait until an attempt and an execution have succeeded that are not those of `before`."""
    name, job = _name(schedule), _find_job(schedule)
    wait(
        lambda: _check_call(schedules.describe(name), schedule),
        _SCHEDULE_S,
        f"the schedule {name} was not called: look at the logs of Cloud Scheduler",
    )
    if job:
        wait(
            lambda: _check_executions(job, schedules.find_executions(job), before),
            _SCHEDULE_S,
            f"the schedule {name} was called, but the job {job} did not end: look at the job's "
            "executions and logs",
        )


def _name(schedule: dict[str, Any]) -> str:
    return str(schedule["name"]).rpartition("/")[2]


def _find_job(schedule: dict[str, Any]) -> str | None:
    """Return the job that the schedule starts; None if it changes a service instead."""
    found = re.search(r"/jobs/([^/:]+):run$", schedule["httpTarget"]["uri"])
    return found[1] if found else None


def _find_completed(execution: dict[str, Any]) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = execution.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Completed"), {"status": "Unknown"})


def _check_call(schedule: dict[str, Any], before: dict[str, Any]) -> None:
    code = schedule.get("status", {}).get("code", 0)
    if schedule.get("lastAttemptTime") == before.get("lastAttemptTime") or code < 0:
        raise NotYet("no attempt has ended")
    if code:
        raise Failed(
            f"the call of the schedule {_name(schedule)} failed with google.rpc.Code {code}: look "
            "at the logs of Cloud Scheduler, and at the roles of the account progress-scheduler"
        )


def _check_executions(job: str, executions: dict[str, dict[str, Any]], before: set[str]) -> None:
    new = {name: executions[name] for name in executions.keys() - before}
    for name, condition in new.items():
        if condition["status"] == "False":
            raise Failed(
                f"the execution {name} of the job {job} failed: {condition.get('message')}: look "
                "at its logs"
            )
    if "True" not in [condition["status"] for condition in new.values()]:
        raise NotYet(f"{len(new)} executions were started, and none has ended")


def _export(project: str, address: str, now: str) -> None:
    """Export the learner's record, and fetch the file from its signed URL."""
    advice = "look at the logs of progress-project, and at `progress operations list`"
    started = wait(
        lambda: day.ask(address, _sign_in, _START_EXPORT, key=f"trial {now}"),
        _EXPORT_S,
        f"GraphQL did not start an export: {advice}",
    )["exportUser"]["id"]

    def get_download() -> dict[str, Any]:
        operation = day.ask(address, _sign_in, _EXPORT, id=started)["operation"]
        if operation["state"] in ("FAILED", "TIMED_OUT"):
            ended = f"{operation['state']}: {operation['error']}"
            raise Failed(f"the export {started} ended as {ended}: {advice}")
        if operation["download"] is None:
            raise NotYet(f"it is {operation['state']}")
        found: dict[str, Any] = operation["download"]
        return found

    download = wait(get_download, _EXPORT_S, f"the export {started} has no file: {advice}")
    status, content = _fetch(download["url"])
    if status != 200:
        raise Failed(
            f"the signed URL of the export responded with {status}, {content[:200]!r}: look at the "
            "account progress-query, which needs the role progressSigning on itself and "
            f"roles/storage.objectViewer on the bucket {project}-progress-exports"
        )
    if hashlib.sha256(content).hexdigest() != download["sha256"]:
        raise Failed(
            f"the file at the signed URL ({len(content)} bytes) does not have the checksum of the "
            f"export {started}: {advice}"
        )
    log(f"the export is complete, and its signed URL returns the file of {len(content)} bytes")


def _execute(cloud: gcloud.Cloud, failure: str, *command: str) -> None:
    """Run the `progress` command in the release job; raise Failed with this text if it fails.

    The command `erase` waits until the operation has ended, and fails unless it has succeeded.
    """
    try:
        cloud.execute(RELEASE_JOB, *command)
    except Failed as error:
        raise Failed(f"{failure}: {error}") from None


def _sign_in() -> str:
    """Return a new token of the trial's learner, because GitHub's tokens expire in minutes."""
    (audience,) = re.findall(r'audience *= *"(.*)"', environments.read_text("trial"))
    try:
        url = f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}"
        secret = os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    except KeyError as error:
        raise Failed(
            f"{error} is not set: run this program in a workflow with the permission `id-token`"
        ) from None
    status, content = _fetch(url, authorization=f"Bearer {secret}")
    if status != 200:
        raise Failed(f"GitHub did not sign a token: {status}, {content[:200]!r}")
    return str(json.loads(content)["value"])


def _fetch(url: str, **headers: str) -> tuple[int, bytes]:
    """Return the status and the body of the response; raise Failed without a response."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - from GitHub or GraphQL
    try:
        with open_response(request) as response:
            return response.status, response.read()
    except OSError as error:
        raise Failed(f"{url.partition('?')[0]} does not respond: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
