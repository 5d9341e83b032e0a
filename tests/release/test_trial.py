"""The steps of the trial workflow, run with a fake cloud and a fake Terraform."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import fake_cloud
from tests.support.fake_cloud import Cloud
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments

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


@dataclass(frozen=True)
class Runner:
    """A substitute for the GitHub runner that runs the workflow's shell steps in order."""

    folder: Path
    cloud: Cloud
    address: str

    def run(self) -> dict[str, int]:
        """Run the steps; return the exit code of each step that ran, by name."""
        (job,) = yaml.safe_load(_WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
        done: dict[str, int] = {}
        for step in job["steps"]:
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
            },
            check=False,
            timeout=100,
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
        (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep = lambda _: None\n")
        (tmp_path / "python3").symlink_to(sys.executable)
        yield Runner(tmp_path, cloud, cloud.world.address)


def test_the_trial_applies_then_plans_again_then_sends_requests_then_destroys(
    runner: Runner,
) -> None:
    steps = ("apply", "plan again", "requests", "point-in-time recovery", "destroy")
    assert runner.run() == dict.fromkeys(steps, 0)
    assert runner.cloud.world.published == ["user-events"]
    assert runner.cloud.world.executions == [("a", "check")]
    assert (
        runner.cloud.world.deleted_clones == list(runner.cloud.world.clones) == ["progress-then-7"]
    )
    variables = "-var-file=environments/trial.tfvars"
    for command in ("apply", "plan", "destroy"):
        (call,) = runner.calls(command)
        assert call.endswith(variables)
    assert "-detailed-exitcode" in runner.calls("plan")[0]


@pytest.mark.parametrize(
    ("command", "code", "step"), [("apply", 1, "apply"), ("plan", 2, "plan again")]
)
def test_everything_is_destroyed_if_the_apply_fails_or_the_second_plan_is_not_empty(
    runner: Runner, command: str, code: int, step: str
) -> None:
    runner.fail(command, code)
    done = runner.run()
    assert (done[step], done["destroy"]) == (code, 0)
    assert "requests" not in done
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
    assert done["requests"] != 0
    assert done["destroy"] == 0
    assert runner.cloud.world.published == []


def test_the_trial_fails_if_progress_check_finds_differences(runner: Runner) -> None:
    runner.cloud.faults[1] = "fail"  # the call that runs `progress check`
    assert runner.run()["requests"] != 0


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


@pytest.mark.exhaustive
def test_the_trial_environment_has_an_empty_second_plan_and_can_be_destroyed(
    environments: Environments,
) -> None:
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
