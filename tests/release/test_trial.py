"""The steps of the trial workflow, run with a fake cloud and a fake Terraform."""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import day
import exit_status
import gcloud
import pytest
import trial
import yaml

from tests.support import fake_cloud, fault_stack, gcloud_syntax, trial_cloud
from tests.support.cloud_scheduler import JOBS
from tests.support.fake_cloud import Cloud
from tests.support.release_world import CallRejected
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments
from tests.support.trial_cloud import NO_JOBS, ONE_JOB, Servers, TrialWorld

pytestmark = pytest.mark.exhaustive  # the workflow is started by hand

_WORKFLOW = REPOSITORY / ".github" / "workflows" / "trial.yaml"

# A file for each terraform command lists the exit codes of its next calls. If no code is left, a
# call exits with 0.
_TERRAFORM = """#!/bin/bash
echo "terraform $*" >> "$CALLS"
[[ "$*" != *" output "* ]] || echo "{\\"query\\": \\"$ADDRESS\\"}"
for word in "$@"; do [[ "$word" == -* ]] || { command="$word"; break; }; done
codes="$CODES/$command"
[ -s "$codes" ] || exit 0
code="$(head -n 1 "$codes")"
sed -i 1d "$codes"
exit "$code"
"""
_SLEEP = '#!/bin/sh\necho "sleep $*" >> "$CALLS"\n'
# Without any pause, the programs would ask again and again, and slow down what they wait for.
_SHORT_SLEEP = "import time\nsleep = time.sleep\ntime.sleep = lambda _: sleep(0.02)\n"


@dataclass(frozen=True)
class Runner:
    """A substitute for the GitHub runner that runs the workflow's shell steps in order."""

    folder: Path
    cloud: Cloud
    address: str
    github: dict[str, str] = field(default_factory=dict)  # variables of its tokens

    def run(self, *names: str) -> dict[str, int]:
        """Run these steps, or all; return the exit code of each step that ran, by name."""
        (job,) = yaml.safe_load(_WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
        done: dict[str, int] = {}
        for step in job["steps"]:
            if names and step.get("name") not in names:
                continue
            if "run" in step and (not any(done.values()) or step.get("if") == "always()"):
                done[step["name"]] = self._run_step(step)
        return done

    def _run_step(self, step: dict[str, Any]) -> int:
        # By default, GitHub runs a step with `bash -e`.
        return subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=REPOSITORY / step.get("working-directory", "."),
            env={
                **os.environ,
                "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
                "FAKE_GCLOUD_PORT": str(self.cloud.port),
                "CALLS": str(self.folder / "calls"),
                "CODES": str(self.folder),
                "ADDRESS": self.address,
                "PYTHONPATH": str(self.folder),
                "PROJECT_ID": "progress-trial",
                "CLONE": "progress-then-7",
                **self.github,
            },
            check=False,
            timeout=250,
        ).returncode

    def fail(self, command: str, *codes: int) -> None:
        """Set the exit codes of the next calls of this terraform command."""
        (self.folder / command).write_text("".join(f"{code}\n" for code in codes))

    def calls(self, command: str) -> list[str]:
        """Return the calls of this terraform command, or of sleep."""
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if f" {command}" in line or line.startswith(command)]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    if not shutil.which("jq"):
        pytest.skip("needs jq")
    with fake_cloud.running(tmp_path, Cloud) as cloud:
        for name, program in (("terraform", _TERRAFORM), ("sleep", _SLEEP)):
            (tmp_path / name).write_text(program)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "sitecustomize.py").write_text(_SHORT_SLEEP)
        (tmp_path / "python3").symlink_to(sys.executable)
        yield Runner(tmp_path, cloud, cloud.world.address)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """A local stack, which is the trial's environment."""
    with fault_stack.run_stack() as stack, trial_cloud.serve(stack) as servers:
        yield servers


@pytest.fixture
def world(servers: Servers) -> Iterator[TrialWorld]:
    # Another learner for each test, because a learner may start only five exports a day.
    servers.learner = f"repo:ours/progress:environment:{uuid.uuid4()}"
    yield TrialWorld(servers.address, stack=servers.stack)
    servers.respond = trial_cloud.pass_on


Trial = Callable[[], tuple[int, str]]
Change = Callable[[int, bytes], tuple[int, bytes]]


@pytest.fixture
def run_trial(
    servers: Servers,
    world: TrialWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Trial:
    """A function that runs the trial's program; it returns the exit code and the error.

    No schedule starts a job.
    """

    def run_gcloud(words: tuple[str, ...], _seconds: float) -> str:
        try:
            return world.do([*words])
        except CallRejected as error:
            raise exit_status.Failed(str(error)) from None

    def run() -> tuple[int, str]:
        return trial.main(), capsys.readouterr().err

    world.schedules = NO_JOBS
    arguments = ["trial.py", "--project=progress-trial", f"--address={servers.address}"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(gcloud, "run", run_gcloud)
    monkeypatch.setattr(day, "_INTERVAL_S", 0.05)
    for module, limit in (
        (day, "_RECORDED_S"), (day, "_ANSWERED_S"), (trial, "_SCHEDULE_S"), (trial, "_EXPORT_S"),
    ):  # fmt: skip
        monkeypatch.setattr(module, limit, 30.0)
    for name, value in servers.environment().items():
        monkeypatch.setenv(name, value)
    return run


@pytest.mark.timeout(300)
def test_the_trial_applies_then_plans_again_then_sends_requests_then_destroys(
    runner: Runner, servers: Servers, world: TrialWorld
) -> None:
    runner.cloud.world = world
    world.recovery_times = ["", "2026-01-01T00:00:00Z", "9999-01-01T00:00:00Z"]
    runner = replace(runner, address=servers.address, github=servers.environment())
    steps = ("apply", "plan again", "test", "point-in-time recovery", "destroy")
    assert runner.run() == dict.fromkeys(steps, 0)
    assert world.published == ["learning-events"]
    assert world.completed == {job: ["True"] for job in JOBS}
    assert world.attempts.keys() == world.schedules.keys()
    (_, checked), (_, erased) = world.executions
    assert (checked, erased.partition(",")[0]) == ("check", "erase")
    assert world.clones == {"progress-then-7": "9999-01-01T00:00:00Z"}
    assert world.deleted_clones == ["progress-then-7"]
    variables = "-var-file=environments/trial.tfvars"
    for command in ("apply", "plan", "destroy"):
        (call,) = runner.calls(command)
        assert call.endswith(variables)
    assert "-detailed-exitcode" in runner.calls("plan")[0]
    if sdk := gcloud_syntax.find_sdk():
        assert gcloud_syntax.find_rejected(sdk, runner.folder, runner.cloud.calls) == []


def run_try(runner: Runner, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """Run infra/try; return its exit code and its lines. The browser writes what it opens."""
    (runner.folder / "browser").write_text('#!/bin/sh\necho "$1" > "${0%/*}/opened"\n')
    (runner.folder / "browser").chmod(0o755)
    done = subprocess.run(
        [sys.executable, REPOSITORY / "infra" / "try", *arguments],
        env={
            **os.environ,
            "PATH": f"{runner.folder}{os.pathsep}{os.environ['PATH']}",
            "FAKE_GCLOUD_PORT": str(runner.cloud.port),
            "PYTHONPATH": str(runner.folder),
            "BROWSER": f"{runner.folder}/browser %s",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_learners_day_goes_from_pubsub_to_the_page(
    runner: Runner, servers: Servers, world: TrialWorld
) -> None:
    runner.cloud.world = world
    world.make_token = servers.make_token
    for _ in range(2):  # the second day is another session on the same day
        code, lines = run_try(runner, "dev")
        assert code == 0, lines
        assert lines[0] == f"a day of the learner {servers.learner} is published: 6 events"
        assert lines[-2:] == [
            "streak: 1 day",
            f"page: {servers.address}/ (sign in there with the token)",
        ]
        assert (runner.folder / "opened").read_text() == f"{servers.address}/\n"
    if sdk := gcloud_syntax.find_sdk():
        assert gcloud_syntax.find_rejected(sdk, runner.folder, runner.cloud.calls) == []


def test_a_learners_day_is_asked_for_with_any_token(
    runner: Runner, servers: Servers, world: TrialWorld
) -> None:
    runner.cloud.world = world
    assert run_try(runner, "dev", TOKEN=servers.make_token())[0] == 0
    assert not [call for call in runner.cloud.calls if call[0] == "auth"]
    forged = f"{servers.make_token()[:-9]}AAAAAAAAA"
    code, lines = run_try(runner, "dev", TOKEN=forged)
    assert (code, lines) == (
        1,
        [f"try: {servers.address} rejected the token: bad token: its signature is wrong"],
    )
    assert world.published == ["learning-events"]


def test_without_gcloud_one_line_says_what_to_do(runner: Runner, tmp_path: Path) -> None:
    code, lines = run_try(runner, "dev", PATH=str(tmp_path / "nothing"))
    assert (code, lines) == (1, [f"try: {gcloud.MISSING}"])


@pytest.mark.parametrize("arguments", [(), ("prod",), ("staging",), ("dev", "trial")])
def test_only_an_environment_for_development_gets_a_learners_day(
    runner: Runner, arguments: tuple[str, ...]
) -> None:
    assert run_try(runner, *arguments) == (2, ["usage: infra/try dev|trial"])
    assert runner.cloud.calls == []


@pytest.mark.parametrize(
    ("command", "code", "step"), [("apply", 1, "apply"), ("plan", 2, "plan again")]
)
def test_everything_is_destroyed_if_the_apply_fails_or_the_second_plan_is_not_empty(
    runner: Runner, command: str, code: int, step: str
) -> None:
    runner.fail(command, code)
    done = runner.run()
    assert (done[step], done["destroy"]) == (code, 0)
    assert "test" not in done
    assert len(runner.calls("destroy")) == 1


@pytest.mark.parametrize(
    ("broken", "answer"),
    [
        ("ready", (503, {"status": "no database"})),
        ("graphql", (200, {"data": {"__typename": "Query"}})),
    ],
)
def test_the_trial_fails_if_a_response_is_wrong(runner: Runner, broken: str, answer: Any) -> None:
    setattr(runner.cloud, broken, answer)
    done = runner.run()
    assert done["test"] != 0
    assert done["destroy"] == 0
    assert runner.cloud.world.published == []


def test_the_trial_fails_if_the_published_event_is_not_recorded(
    run_trial: Trial, world: TrialWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.is_deaf = True
    monkeypatch.setattr(day, "_RECORDED_S", 0.5)
    code, error = run_trial()
    assert code == 1
    assert "the published event was not recorded: look at the logs of progress-ingest" in error


def test_the_trial_fails_if_the_published_event_is_recorded_but_not_folded(
    run_trial: Trial, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day, "_ANSWERED_S", 0.5)
    stack = servers.stack
    with stack.pause_supervisor():
        stack.signal("project", signal.SIGSTOP)
        try:
            code, error = run_trial()
        finally:
            stack.signal("project", signal.SIGCONT)
    assert code == 1
    assert "recorded, but not folded and answered: look at the logs of progress-project" in error


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({"schedules": {}}, "there are no schedules"),
        ({"code": None}, "was not called: look at the logs of Cloud Scheduler"),
        ({"code": 7}, "failed with google.rpc.Code 7: look at the logs of Cloud Scheduler"),
        ({"does_run": False}, "the job progress-batch did not end: look at the job's executions"),
        ({"does_succeed": False}, "of the job progress-batch failed: it was broken: look at"),
    ],
)
def test_the_trial_fails_if_a_schedule_or_its_job_fails(
    run_trial: Trial,
    world: TrialWorld,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any],
    expected: str,
) -> None:
    for name, value in {"schedules": ONE_JOB, **broken}.items():
        setattr(world, name, value)
    monkeypatch.setattr(trial, "_SCHEDULE_S", 0.2)
    code, error = run_trial()
    assert code == 1
    assert expected in error


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        (
            "/exports/",
            lambda *_: (403, b"denied"),
            "URL of the export responded with 403, b'denied",
        ),
        ("/exports/", lambda *_: (200, b"PK"), "(2 bytes) does not have the checksum of the"),
        ("/graphql", lambda s, body: (s, body.replace(b"SUCCEEDED", b"FAILED")), "ended as FAILED"),
    ],
)
def test_the_trial_fails_if_an_export_or_its_download_fails(
    run_trial: Trial, servers: Servers, path: str, change: Change, expected: str
) -> None:
    def respond(requested: str, status: int, body: bytes) -> tuple[int, bytes]:
        return change(status, body) if requested.startswith(path) else (status, body)

    servers.respond = respond
    code, error = run_trial()
    assert code == 1
    assert expected in error
    assert "look at" in error


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("check", "`progress check` found a defect: look at the log of the newest execution"),
        ("erase", "failed: look at the log of the newest execution of progress-release, at the"),
    ],
)
def test_the_trial_fails_if_a_command_of_the_release_job_fails(
    run_trial: Trial, world: TrialWorld, command: str, expected: str
) -> None:
    world.failing = command
    code, error = run_trial()
    assert code == 1
    assert expected in error


def test_the_trial_fails_if_no_time_after_the_backup_can_be_restored(
    runner: Runner,
) -> None:
    runner.cloud.world.recovery_times = ["2026-01-01T00:00:00Z"]
    assert runner.run("point-in-time recovery") == {"point-in-time recovery": 1}
    assert runner.cloud.world.clones == {}


def test_a_failed_destroy_is_retried(runner: Runner) -> None:
    runner.fail("destroy", 1, 1)
    assert runner.run()["destroy"] == 0
    assert len(runner.calls("destroy")) == 3
    assert runner.calls("sleep").count("sleep 900") == 2
    deleted = [call for call in runner.cloud.calls if "peerings" in call]
    assert len(deleted) == 2


def test_the_trial_fails_if_every_destroy_fails(runner: Runner) -> None:
    runner.fail("destroy", *[1] * 10)
    assert runner.run()["destroy"] == 1


def test_the_trial_environment_has_an_empty_second_plan_and_can_be_destroyed(
    environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = yaml.safe_load(_WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    github = job["env"]["TF_VAR_github"].replace("${{ github.repository }}", "ours/progress")
    monkeypatch.setenv("TF_VAR_github", github)
    deployment = environments.variant("trial", "trial")
    assert deployment.second_plan == ""
    kinds = {resource["type"] for resource in deployment.state["resources"]}
    assert {"google_sql_database_instance", "google_redis_instance"} <= kinds
    assert "google_billing_budget" not in kinds  # the trial names no billing account
    kept = {
        address
        for address, resource in deployment.applied.items()
        if resource.get("deletion_protection") or resource.get("force_destroy") is False
    }
    assert kept == set()
