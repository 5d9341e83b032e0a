"""Releases and rollbacks, their failures, the smoke test, and the calls of gcloud."""

import itertools
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import environments
import exit_status
import gcloud
import psutil
import pytest

from progress.serve import readiness
from tests.conftest import skip_without
from tests.support import gcloud_syntax, programs, token_issuer
from tests.support.function_process import FunctionProcess
from tests.support.release_runs import ROOT, Releases
from tests.support.release_world import SERVICES, image


def test_the_new_version_takes_over_in_two_steps(cloud: Releases) -> None:
    cloud.deploy().assert_success()
    cloud.assert_serves("b")
    assert [cloud.green_percents(name) for name in SERVICES] == [[10, 100]] * 3
    commands = [("a", "prune-schemas"), ("b", "migrate"), ("b", "move-views")]
    assert cloud.world.executions == commands
    assert {cloud.world.find_tagged(name, "blue") for name in SERVICES} == {
        f"{name}-00001" for name in SERVICES
    }


def test_a_rollback_returns_to_the_version_before_the_release(cloud: Releases) -> None:
    cloud.deploy().assert_success()
    for _ in range(2):
        cloud.run("rollback").assert_success()
        cloud.assert_serves("a")
    cloud.deploy("c").assert_success()
    cloud.assert_serves("c")


def test_without_github_one_command_updates_every_part_or_none(cloud: Releases) -> None:
    page = (ROOT / "docs/first-cloud.md").read_text(encoding="utf-8")
    (typed,) = re.findall(r"^ +python3 infra/release/release\.py (deploy .+)$", page, re.MULTILINE)
    command, *words = shlex.split(typed.replace("$PROJECT", "p"))
    cloud.run(command, *words, to="dev").assert_success()
    cloud.assert_serves("b")
    cloud.reset({0: "fail"})  # the build
    assert cloud.run(command, *words, to="dev").returncode == 1
    cloud.assert_serves("a")
    # It builds as the guide's step does, for gcloud's own parser looks at each call.
    step = re.search(r"gcloud builds submit (?:.+\n){2}", page)
    assert step
    for option in re.findall(r"--[\w-]+", step[0]):
        assert any(word.startswith(f"{option}=") for word in cloud.calls[0]), option


@pytest.mark.parametrize("fault", ["fail", "fail, too late", "interrupt", "interrupt, too late"])
def test_one_version_serves_after_a_failure_or_an_interrupt_at_any_call(
    cloud: Releases, fault: str
) -> None:
    """A release continues if a call that moves traffic fails and has taken effect.

    It also continues if nothing can be dropped.
    """
    cloud.deploy(to="dev").assert_success()
    for number in range(len(cloud.calls)):
        cloud.reset({number: fault})
        done = cloud.deploy(to="dev")
        moves = "update-traffic" in cloud.calls[number] and fault == "fail, too late"
        drops = "--args=prune-schemas" in cloud.calls[number] and fault.startswith("fail")
        assert done.returncode == (0 if moves or drops else 1), number
        if cloud.world.executions[-1:] == [("b", "move-views")]:  # the tags are removed
            cloud.run("rollback", "--unfinished").assert_success()
            assert not cloud.find_violations(), number
            cloud.run("rollback").assert_success()
        cloud.assert_serves("a", number)


@pytest.mark.parametrize("fault", ["kill", "kill, too late"])
def test_a_killed_release_is_rolled_back(cloud: Releases, fault: str) -> None:
    """The workflow does this, also if the revisions before the last one still have tags."""
    cloud.deploy("c", to="dev").assert_success()
    before = cloud.world.copy()
    cloud.reset({}, before)
    cloud.deploy(to="dev").assert_success()
    for number in range(len(cloud.calls)):
        cloud.reset({number: fault}, before)
        cloud.deploy(to="dev")
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        cloud.run("rollback", "--unfinished").assert_success()
        codes = {code for name in SERVICES for code in cloud.world.share(name)}
        # Both serve if the kill came while the tags `green` were removed, at the end.
        assert codes == {"c"} or ("b", "move-views") in cloud.world.executions, number
        cloud.deploy("d", to="dev").assert_success()
        cloud.assert_serves("d", number)


@pytest.mark.parametrize("options", [(), ("--unfinished",)])
def test_a_rollback_can_be_repeated_after_a_failure_or_a_kill(
    cloud: Releases, options: tuple[str, ...]
) -> None:
    """A call that fails leaves only its own service as it was."""
    cloud.deploy(to="dev").assert_success()
    if options:
        cloud.reset({len(cloud.calls) - len(SERVICES): "kill"})  # before it removes the tags
        cloud.deploy(to="dev")
        cloud.faults.clear()
    before = cloud.world.copy()
    cloud.reset({}, before)
    cloud.run("rollback", *options).assert_success()
    for number, fault in itertools.product(range(len(cloud.calls)), ("fail", "kill")):
        cloud.reset({number: fault}, before)
        assert cloud.run("rollback", *options).returncode, number
        if "update-traffic" in cloud.calls[number] and fault == "fail":
            assert sum("b" in cloud.world.share(name) for name in SERVICES) <= 1, number
        cloud.faults.clear()
        cloud.run("rollback", *options).assert_success()
        cloud.assert_serves("a", number)


@pytest.mark.parametrize("service", SERVICES)
def test_a_revision_that_does_not_start_gets_no_traffic(cloud: Releases, service: str) -> None:
    """While the newest revision cannot start, gcloud reports an error for each change of a service.

    Nevertheless, the change is applied.
    """
    cloud.world.broken = {f"{service}-00002"}
    assert "is not ready and cannot serve traffic" in cloud.deploy().stderr
    cloud.assert_serves("a")
    cloud.deploy("c").assert_success()
    cloud.world.revisions[f"{service}-00004"] = image("c")  # by Terraform, with another setting
    cloud.world.broken = {f"{service}-00004"}
    cloud.run("rollback").assert_success()
    cloud.assert_serves("a")


def test_only_the_released_image_gets_traffic(
    cloud: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gcloud may report a deployment as done while the newest revision runs another image."""
    deploy = cloud.world._run_deploy
    lost = {"image": image("e")}
    monkeypatch.setattr(cloud.world, "_run_deploy", lambda name, flags: deploy(name, flags | lost))
    assert "does not run" in cloud.deploy().stderr
    assert cloud.serving_code() == "a"


def test_a_release_does_not_change_traffic_that_an_operator_has_split(cloud: Releases) -> None:
    cloud.deploy().assert_success()
    halves = [{"revisionName": f"progress-query-0000{n}", "percent": 50} for n in (1, 2)]
    cloud.world.traffic["progress-query"] = halves
    before = cloud.world.copy()
    done = cloud.deploy("c")
    assert done.returncode == 1
    assert "found progress-query-00001, progress-query-00002" in done.stderr
    assert cloud.world == before


def test_a_rollback_needs_an_earlier_release(cloud: Releases) -> None:
    assert "nothing to roll back to" in cloud.run("rollback").stderr
    cloud.assert_serves("a")
    cloud.run("rollback", "--unfinished").assert_success()
    cloud.assert_serves("a")


@pytest.mark.parametrize("wrong", ["", image("b").split("@")[0] + ":latest", image("b")[:-1]])
def test_a_release_requires_the_digest_of_its_image(cloud: Releases, wrong: str) -> None:
    done = cloud.run("deploy", f"--image={wrong}")
    assert (done.returncode, cloud.calls) == (2, [])
    assert "expected IMAGE@sha256:DIGEST" in done.stderr


def test_the_region_is_that_of_the_environment_in_terraform(
    cloud: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(environments.FOLDER, tmp_path / "environments")
    with (folder / "prod.tfvars").open("a") as file:
        file.write('region = "asia-northeast1"\n')
    monkeypatch.setattr(environments, "FOLDER", folder)
    cloud.deploy().assert_success()
    cloud.run("rollback").assert_success()
    regions = {word for call in cloud.calls for word in call if word.startswith("--region")}
    assert regions == {"--region=asia-northeast1"}


@pytest.mark.parametrize(
    ("token", "failed"), [(None, False), ("a learner's", False), ("nobody's", True)]
)
def test_the_query_function_passes_the_smoke_test_unless_the_token_is_invalid(
    query_process: FunctionProcess, token: str | None, *, failed: bool
) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "infra/release")}
    if token:
        environment["SMOKE_TOKEN"] = token_issuer.token("ann") if "learner" in token else token
    green = f"smoke.Green('http://127.0.0.1:{query_process.port}')"
    command = [sys.executable, "-c", f"import smoke; {green}.check(tries=1)"]
    done = programs.try_run(command, environment)
    assert bool(done.returncode) == failed, done.stderr
    assert ("green's GraphQL gave an unexpected response: 401" in done.stderr) == failed


@pytest.mark.exhaustive
def test_gcloud_accepts_the_syntax_of_every_call(
    cloud: Releases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sdk = gcloud_syntax.find_sdk() or skip_without(request, "gcloud")
    cloud.run("deploy").assert_success()
    cloud.run("rollback").assert_success()
    unknown = ["run", "deploy", "x", "--image=y", "--no-traffik"]
    assert gcloud_syntax.find_rejected(sdk, tmp_path, [*cloud.calls, unknown]) == [unknown]


def test_a_call_that_hangs_is_killed_with_its_child_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, child_file = tmp_path / "gcloud", tmp_path / "child"
    program.write_text(f"#!/bin/sh\nsleep 100 & echo $! > {child_file}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for seconds in (1, 20):
        with pytest.raises(
            exit_status.Failed, match=f"did not end within {seconds} s and was killed"
        ):
            gcloud.run(["run", "deploy"], seconds)
        # Try again if the machine was too busy to start the child in time.
        if child_file.exists() and child_file.read_text():
            break
    child = int(child_file.read_text())
    readiness.wait(lambda: not _runs(child), "the end of what gcloud started")


def _runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


BEAM = ROOT / "infra/beam"


def read_pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE))


def test_beam_and_its_image_use_the_package_versions_that_the_project_has_locked() -> None:
    beam, project = read_pins(BEAM / "requirements.txt"), read_pins(ROOT / "requirements.txt")
    named = (BEAM / "requirements.in").read_text().splitlines()
    own = {"apache-beam", *(line for line in named if line.startswith("#"))}
    names = [re.split("[=>]", line)[0] for line in named if line not in own]
    assert {name: beam[name] for name in names} == {name: project[name] for name in names}
    (tag,) = re.findall(r"apache/beam_python[\d.]+_sdk:([\d.]+)", (BEAM / "Dockerfile").read_text())
    assert tag == beam["apache-beam"]
