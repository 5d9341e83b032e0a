"""A cloud for the trial: a local stack, with fakes of GitHub, Cloud Scheduler and Cloud Run's jobs.

The functions, Pub/Sub, the database and the programs of the jobs are those of the stack. An HTTP
server stands in front of the query function, so that a test can replace its responses.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from progress.local import development_key
from tests.support import http_client, http_servers
from tests.support.cloud_scheduler import JOBS
from tests.support.fault_stack import Stack
from tests.support.release_world import CallRejected, World

_RUN_KEY = "of-the-workflow-run"
_RUN_API = "https://run.googleapis.com/v2/projects/progress-trial/locations/europe-west1"
_SERVICE = "services/progress-query?updateMask=scaling.minInstanceCount"
NO_JOBS = {"progress-evening-query": _SERVICE}  # the schedules that start no job
ONE_JOB = {"progress-batch": "jobs/progress-batch:run"}
_CONDITION = {"type": "Completed", "message": "it was broken"}

Respond = Callable[[str, int, bytes], tuple[int, bytes]]


@dataclass
class TrialWorld(World):
    """The trial's project. `schedules` maps each schedule to the target of its call."""

    stack: Stack | None = None
    schedules: dict[str, str] = field(
        default_factory=lambda: {
            **{name: f"jobs/{name}:run" for name in JOBS},
            **NO_JOBS,
        }
    )
    attempts: dict[str, dict[str, Any]] = field(default_factory=dict)  # The last of each schedule.
    completed: dict[str, list[str]] = field(default_factory=dict)  # Executions' states by job.
    is_deaf: bool = False  # Pub/Sub accepts messages and loses them.
    code: int | None = 0  # The google.rpc.Code of the schedules' calls; None: they are not made.
    does_run: bool = True  # Whether a call of a schedule starts its job.
    does_succeed: bool = True  # Whether the job succeeds.
    failing: str = ""  # The command that fails in the release job.
    make_token: Callable[[], str] = str  # Returns the operator's token.

    def copy(self) -> "World":
        """Return this world, because the trial's tests do not look at earlier states."""
        return self

    def _pubsub_topics_publish(self, topic: str, flags: dict[str, str]) -> object:
        super()._pubsub_topics_publish(topic, flags)
        if not self.is_deaf:
            self._stack.publish_raw(flags["message"].encode(), topic=topic)
        return {}

    def _run_services_describe(self, name: str, flags: dict[str, str]) -> object:
        return {"status": {"url": self.address}}

    def _auth_print_identity_token(self, flags: dict[str, str]) -> str:
        return f"{self.make_token()}\n"

    def _run_jobs_execute(self, name: str, flags: dict[str, str]) -> object:
        command = flags["args"].split(",")
        if "wait" not in flags or self.failing == command[0]:
            raise CallRejected("the outcome is unknown, or a failure")
        ended = self._stack.run(*command)
        if ended.returncode:
            raise CallRejected(f"{ended.stdout}{ended.stderr}")
        self.executions.append((name, flags["args"]))
        return {}

    def _run_jobs_executions_list(self, flags: dict[str, str]) -> object:
        states = self.completed.get(flags["job"], [])
        return [
            {
                "metadata": {"name": f"{flags['job']}-{number}"},
                "status": {"conditions": [{**_CONDITION, "status": state}]},
            }
            for number, state in enumerate(states)
        ]

    def _scheduler_jobs_list(self, flags: dict[str, str]) -> object:
        return [self._scheduler_jobs_describe(name, flags) for name in self.schedules]

    def _scheduler_jobs_describe(self, name: str, flags: dict[str, str]) -> dict[str, Any]:
        full = f"projects/progress-trial/locations/{flags['location']}/jobs/{name}"
        target = {"uri": f"{_RUN_API}/{self.schedules[name]}"}
        return {"name": full, "httpTarget": target, **self.attempts.get(name, {})}

    def _scheduler_jobs_run(self, name: str, flags: dict[str, str]) -> object:
        if self.code is None:
            return {}
        number = self.attempts.get(name, {}).get("lastAttemptTime", 0)
        status = {"code": self.code} if self.code else {}
        self.attempts[name] = {"lastAttemptTime": number + 1, "status": status}
        if not self.code and self.does_run and self.schedules[name] != _SERVICE:
            self.completed.setdefault(name, []).append(str(self._run_job(name)))
        return {}

    def _run_job(self, name: str) -> bool:
        """Run the program of the job; return whether it succeeded."""
        if not self.does_succeed:
            return False
        if name == "progress-backup":
            return self._stack.run("dump", str(self._stack.folder.path / "dumps")).returncode == 0
        return self._stack.start_job().wait(timeout=200) == 0

    @property
    def _stack(self) -> Stack:
        assert self.stack
        return self.stack


def pass_on(_path: str, status: int, body: bytes) -> tuple[int, bytes]:
    """Return the response of the query function unchanged."""
    return status, body


class Servers:
    """The address of GitHub and of the query function; `respond` may replace a response."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.address = ""
        self.respond: Respond = pass_on
        self.learner = ""  # the subject of GitHub's tokens

    def environment(self) -> dict[str, str]:
        """Return the variables with which a workflow's step gets a token from GitHub."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/github?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": _RUN_KEY,
        }

    def sign(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        """Return GitHub's response, with a token of the stack's issuer instead of GitHub's."""
        if authorization != f"Bearer {_RUN_KEY}" or not path.endswith("&audience=progress-trial"):
            return 403, b"{}"
        return 200, json.dumps({"value": self.make_token()}).encode()

    def make_token(self) -> str:
        """Return a token of the learner, from the stack's issuer."""
        return development_key.token(self.stack.folder.key, self.learner, [])

    def forward(self, path: str, headers: Message, body: bytes | None) -> tuple[int, bytes]:
        """Return the response of the query function, or the one that the test has set."""
        method = "GET" if body is None else "POST"
        kept = {name: headers[name] for name in _FORWARDED if name in headers}
        return self.respond(path, *http_client.fetch(self.stack.port, method, path, body, kept))


_FORWARDED = ("Host", "Content-Type", "Authorization")


@contextmanager
def serve(stack: Stack) -> Iterator[Servers]:
    """Serve GitHub and the query function of the stack during the block."""
    servers = Servers(stack)

    class Handler(http_servers.Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name in http.server
            if self.path.startswith("/github?"):
                self.respond(*servers.sign(self.path, self.headers["Authorization"]))
            else:
                self.respond(*servers.forward(self.path, self.headers, None))

        def do_POST(self) -> None:  # noqa: N802 - the name in http.server
            self.respond(*servers.forward(self.path, self.headers, self.read_body()))

    with http_servers.serve(Handler) as servers.address:
        yield servers
