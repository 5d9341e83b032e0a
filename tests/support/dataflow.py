"""A fake Dataflow with the REST API of jobs and Flex Templates."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from progress import settings
from tests.support import http_servers

PROJECT, REGION = "p", "europe-west1"
JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
LAUNCH = f"/v1b3/projects/{PROJECT}/locations/{REGION}/flexTemplates:launch"


@dataclass
class Fake:
    """The launched jobs, and the states and failures that the next requests return.

    `work` is called when a request first returns the state RUNNING.
    """

    launched: list[dict[str, Any]] = field(default_factory=list)  # launch parameters
    states: list[str] = field(
        default_factory=lambda: ["QUEUED", "PENDING", "RUNNING", "RUNNING", "DONE"]
    )
    work: Callable[[dict[str, str]], None] = lambda _: None  # Argument: the template's parameters.
    failures: list[tuple[int, str]] = field(default_factory=list)  # HTTP statuses and messages.
    lost_responses: int = 0  # How many of the next launches succeed but get a 503.
    cut_responses: int = 0  # How many of the next responses have a truncated body.
    messages: list[str] = field(default_factory=list)  # Errors of the job.
    requests: list[str] = field(default_factory=list)

    def launch(self, parameters: dict[str, Any]) -> tuple[int, object]:
        if any(job["jobName"] == parameters["jobName"] for job in self.launched):
            message = f"There is already an active job named {parameters['jobName']}."
            return 409, _error(409, message)
        self.launched.append(parameters)
        if self.lost_responses:
            self.lost_responses -= 1
            return 503, _error(503, "The service is currently unavailable.")
        return 200, {"job": self._describe(len(self.launched))}

    def list_jobs(self, query: dict[str, list[str]]) -> dict[str, object]:
        jobs = [self._describe(number) for number in range(1, len(self.launched) + 1)]
        return {"jobs": [job for job in jobs if job["name"] == query["name"][0]]}

    def read(self, number: int) -> dict[str, str]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "RUNNING":
            work, self.work = self.work, lambda _: None
            work(self.launched[number - 1]["parameters"])
        return self._describe(number) | {"currentState": f"JOB_STATE_{state}"}

    def list_messages(self, query: dict[str, list[str]]) -> dict[str, object]:
        assert query["minimumImportance"] == ["JOB_MESSAGE_ERROR"]
        number = int(query.get("pageToken", ["0"])[0])  # one message per page
        page: dict[str, object] = {}
        if number < len(self.messages):
            page["jobMessages"] = [{"id": str(number), "messageText": self.messages[number]}]
        if number + 1 < len(self.messages):
            page["nextPageToken"] = str(number + 1)
        return page

    def _describe(self, number: int) -> dict[str, str]:
        return {
            "id": f"job-{number}",
            "name": self.launched[number - 1]["jobName"],
            "createTime": f"2026-11-20T01:00:{number:02}Z",
            "currentState": f"JOB_STATE_{self.states[0]}",
        }


def _error(code: int, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == LAUNCH
        if not self._fail():
            self._respond(*self.fake.launch(body["launchParameter"]))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        match = re.fullmatch(rf"{JOBS}(?:/job-(\d+)(/messages)?)?", parts.path)
        assert match, self.path
        if self._fail():
            return
        if match[1] is None:
            self._respond(200, self.fake.list_jobs(query))
        elif match[2]:
            self._respond(200, self.fake.list_messages(query))
        else:
            self._respond(200, self.fake.read(int(match[1])))

    def _fail(self) -> bool:
        """Respond with the next failure, if there is one."""
        self.fake.requests.append(f"{self.command} {self.path}")
        if not self.fake.failures:
            return False
        code, message = self.fake.failures.pop(0)
        self._respond(code, _error(code, message))
        return True

    def _respond(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.fake.cut_responses:
            self.fake.cut_responses -= 1
            self.close_connection = True
            data = data[:-1]
        self.wfile.write(data)


@contextmanager
def serve() -> Iterator[tuple[str, Fake]]:
    """Serve a fake Dataflow during the block; yield the address and the fake."""
    fake = Fake()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with http_servers.serve(handler) as address:
        yield address, fake


@pytest.fixture
def dataflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A fake Dataflow, which the settings point to."""
    with serve() as (address, fake):
        monkeypatch.setenv("DATAFLOW_EMULATOR_HOST", address)
        settings.current.cache_clear()
        yield fake
    settings.current.cache_clear()
