"""Test a new environment: the path of an event, the schedules, a signed URL and an operation.

    trial.py --project P --address URL

GitHub signs the token of the trial's learner, whose id is the token's subject. Each step waits
until it sees its result. A failure says what to look at.
"""

import base64
import hashlib
import json
import os
import re
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "release"))

import environments
import exit_status
import gcloud
from exit_status import Failed, log
from names import RELEASE_JOB
from smoke import Green, open_response

_INTERVAL_S = 5.0  # between two tries
_GCLOUD_TIMEOUT_S = 300.0
_RELEASE_JOB_TIMEOUT_S = 1_200.0

# How long a step waits. An event may wait for the first instances of two functions.
_RECORDED_S = 300.0
_ANSWERED_S = 300.0
_SCHEDULE_S = 900.0
_EXPORT_S = 600.0

_EVENTS = "{ events(first: 5) { edges { node { eventId } } } }"
_ITEM = """query ($item: ID!) {
  item(itemId: $item) { intervalDays }
  projectionStatus { name eventsBehind }
}"""
_START_EXPORT = "mutation ($key: ID!) { exportUser(idempotencyKey: $key) { id } }"
_EXPORT = "query ($id: ID!) { operation(id: $id) { state error download { url sha256 } } }"

_T = TypeVar("_T")


class NotYet(Exception):
    """What a step waits for has not happened; the message says what was found instead."""


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
    _trace_event(project, address, now, leaver)
    _run_schedules(Schedules(project, cloud.region))
    _export(project, address, now)
    advice = f"look at the log of the newest execution of {RELEASE_JOB}"
    _execute(cloud, f"`progress check` found a defect: {advice}", "check")
    log("the log is complete and fits the read models")
    advice += ", at the logs of progress-project, and at `progress operations list`"
    _execute(cloud, f"the erasure of {leaver} failed: {advice}", "erase", leaver, "--yes")
    log(f"the operation that erases {leaver} has succeeded")


def _trace_event(project: str, address: str, now: str, leaver: str) -> None:
    """Publish an event and wait until it is recorded, folded and answered over GraphQL.

    The same message has an event of the learner `leaver`.
    """
    item, learner = f"item-{now}", _read_subject(_sign_in())
    events = [
        {
            "event_id": str(uuid.uuid4()),
            "event_type": "ReviewProcessed",
            "occurred_at": now,
            "data": {"user_id": user, "item_id": item, "new_interval": 1, "easiness_factor": 2.5},
        }
        for user in (learner, leaver)
    ]
    command = ("pubsub", "topics", "publish", "algorithm-events")
    location = (f"--message={json.dumps(events)}", f"--project={project}", "--quiet")
    gcloud.run((*command, *location), _GCLOUD_TIMEOUT_S)

    def check_recorded() -> None:
        edges = _ask(address, _EVENTS)["events"]["edges"]
        if events[0]["event_id"] not in [edge["node"]["eventId"] for edge in edges]:
            raise NotYet("it is not among the learner's newest events")

    def check_answered() -> None:
        data = _ask(address, _ITEM, item=item)
        behind = {row["name"]: row["eventsBehind"] for row in data["projectionStatus"]}
        if data["item"] is None:
            raise NotYet(f"GraphQL does not return the event's item; events behind: {behind}")
        if data["item"] != {"intervalDays": 1}:
            raise Failed(f"GraphQL returned {data['item']} for an item with an interval of 1 day")

    _wait(
        check_recorded,
        _RECORDED_S,
        "the published event was not recorded: look at the logs of progress-ingest, at the "
        "undelivered messages of algorithm-events-ingest-sub, and at `progress dead-letters list`",
    )
    log("the published event is recorded")
    _wait(
        check_answered,
        _ANSWERED_S,
        "the published event was recorded, but not folded and answered: look at the logs of "
        "progress-project and at the undelivered messages of progress-projection-sub; if no "
        "projection is behind, look at the logs of progress-query",
    )
    log("the event is folded, and GraphQL returns its item")


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
    _wait(
        lambda: _check_call(schedules.describe(name), schedule),
        _SCHEDULE_S,
        f"the schedule {name} was not called: look at the logs of Cloud Scheduler",
    )
    if job:
        _wait(
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
    started = _wait(
        lambda: _ask(address, _START_EXPORT, key=f"trial {now}"),
        _EXPORT_S,
        f"GraphQL did not start an export: {advice}",
    )["exportUser"]["id"]

    def get_download() -> dict[str, Any]:
        operation = _ask(address, _EXPORT, id=started)["operation"]
        if operation["state"] in ("FAILED", "TIMED_OUT"):
            ended = f"{operation['state']}: {operation['error']}"
            raise Failed(f"the export {started} ended as {ended}: {advice}")
        if operation["download"] is None:
            raise NotYet(f"it is {operation['state']}")
        found: dict[str, Any] = operation["download"]
        return found

    download = _wait(get_download, _EXPORT_S, f"the export {started} has no file: {advice}")
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


def _wait(find: Callable[[], _T], limit_s: float, failure: str) -> _T:
    """Call `find` until it does not raise NotYet, and return its result.

    Raise Failed with the text `failure` after the limit.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return find()
        except NotYet as error:
            if time.monotonic() > deadline:
                raise Failed(f"{failure}. Found after {limit_s:g} s: {error}") from None
        time.sleep(_INTERVAL_S)


def _ask(address: str, query: str, **variables: str) -> dict[str, Any]:
    """Return the data of the response; raise NotYet if there is none or it has errors."""
    body = {"query": query, "variables": variables}
    try:
        status, content = Green(address, token=_sign_in()).request("/graphql", body)
        response = json.loads(content)
    except (Failed, ValueError) as error:
        raise NotYet(str(error)) from None
    if status != 200 or "errors" in response:
        raise NotYet(f"GraphQL responded with {status}, {content[:500]!r}")
    data: dict[str, Any] = response["data"]
    return data


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


def _read_subject(token: str) -> str:
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["sub"])


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
