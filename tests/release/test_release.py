"""Releases, their recovery and rollback, the smoke test, the images, and the calls of gcloud."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import environments
import pytest

from tests.conftest import skip_without
from tests.support import gcloud_syntax, token_issuer
from tests.support.function_process import FunctionProcess
from tests.support.release_runs import ROOT, Releases, deployment
from tests.support.release_world import REPOSITORY, SERVICES, image


def test_green_takes_over_step_by_step(cloud: Releases, tmp_path: Path) -> None:
    cloud.start(*deployment()).assert_success()
    cloud.assert_serves("b")
    assert (
        cloud.green_percents("progress-query")
        == cloud.green_percents("progress-ingest")
        == [5, 25, 50, 100]
    )
    assert cloud.green_percents("progress-project") == [100]
    before = [("a", "prune-schemas"), ("b", "migrate"), *[("b", "batch")] * 4]
    assert cloud.world.executions == [*before, ("b", "move-views")]
    assert all(w.viewed == "a" for w in cloud.worlds if w.share("progress-project") == {"a": 100})
    assert {cloud.world.find_tagged(name, "blue") for name in SERVICES} == {"a"}


def test_blue_and_green_both_get_wake_ups_while_both_serve(cloud: Releases) -> None:
    cloud.deploy().assert_success()
    during = [w for w in cloud.worlds if 0 < w.share("progress-query").get("b", 0) < 100]
    assert len(during) > 6
    assert all(world.folding_codes() == {"a", "b"} for world in during)


@pytest.mark.parametrize("to", ["dev", "staging"])
def test_a_release_outside_prod_has_one_step(cloud: Releases, to: str) -> None:
    cloud.deploy(to=to).assert_success()
    cloud.assert_serves("b")
    assert cloud.green_percents("progress-query") == [100]
    assert bool(cloud.queries) == (to == "staging")


@pytest.mark.first_in_gate
@pytest.mark.parametrize("way", ["fail, too late", "term", "int, too late"])
def test_one_version_serves_even_if_a_failed_or_interrupted_call_took_effect(
    cloud: Releases, way: str
) -> None:
    """After a failed traffic call, a release checks whether the call took effect nevertheless.

    After any other failed call, or any interrupted call, the release assumes that the call had no
    effect.
    """
    for number in cloud.list_changing_calls():
        cloud.reset({number: way})
        done = cloud.deploy("b", "--steps=100")
        is_seen = way == "fail, too late" and "update-traffic" in cloud.calls[number]
        late = is_seen or cloud.is_past_no_return()
        cloud.assert_one_version_serves(done, is_new=late)


@pytest.mark.parametrize("way", ["kill", "kill, too late"])
def test_a_killed_release_is_recovered(cloud: Releases, way: str) -> None:
    for number in cloud.list_changing_calls():
        cloud.reset({number: way})
        assert cloud.deploy("b", "--steps=100").returncode < 0
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        (serving,) = cloud.world.share("progress-project")
        done = cloud.run("recover")
        context = f"at call {number}: {done.stdout}"
        assert done.returncode == 0, context + done.stderr
        assert not cloud.find_violations(), context
        assert cloud.serving_code() == serving, context


def test_the_next_release_first_recovers_a_killed_release(cloud: Releases) -> None:
    for number in cloud.list_changing_calls():
        cloud.reset({number: "kill"})
        cloud.deploy("b", "--steps=100")
        cloud.faults.clear()
        done = cloud.deploy("c", to="dev")
        assert done.returncode == 0, f"at call {number}: {done.stdout}{done.stderr}"
        cloud.assert_serves("c")


def test_a_recovery_that_is_interrupted_can_be_repeated(cloud: Releases) -> None:
    to_green = cloud.find_full_traffic_call()
    for number in range(100):
        cloud.reset({to_green: "kill, too late"})
        cloud.deploy("b", "--steps=100")
        cloud.reset_calls()
        cloud.faults[number] = "term"
        done = cloud.run("recover")
        assert (done.returncode == 0) == (len(cloud.calls) <= number)
        if done.returncode == 0:
            break
        assert "interrupted by SIGTERM" in done.stderr
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        cloud.run("recover").assert_success()
        cloud.assert_serves("a")


def test_another_process_recovers_a_killed_release(cloud: Releases, tmp_path: Path) -> None:
    to_green = cloud.find_full_traffic_call()
    cloud.reset({to_green: "kill, too late"})
    assert cloud.start(*deployment("b", "--steps=100")).returncode < 0
    assert cloud.world.share("progress-query") == {"b": 100}
    cloud.faults.clear()
    cloud.start("recover").assert_success()
    cloud.assert_serves("a")


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
    done = subprocess.run(
        [sys.executable, "-c", f"import smoke; {green}.check(tries=1)"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert bool(done.returncode) == failed, done.stderr
    assert ("green's GraphQL gave an unexpected response: 401" in done.stderr) == failed


def test_a_finished_release_can_be_rolled_back(cloud: Releases) -> None:
    cloud.deploy("b").assert_success()
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    cloud.assert_serves("a")
    # Blue's batch job folds the events that were stored since the release.
    assert cloud.world.executions[-2:] == [("a", "batch"), ("a", "move-views")]
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    assert not [call for call in cloud.calls if "describe" not in call]
    cloud.deploy("c", to="dev").assert_success()
    cloud.assert_serves("c")


def test_blue_catches_up_before_it_serves_queries(cloud: Releases) -> None:
    cloud.deploy("b").assert_success()
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    first = next(n for n, w in enumerate(cloud.worlds) if "a" in w.share("progress-query"))
    assert cloud.worlds[first - 1].executions[-1] == ("a", "batch")
    assert cloud.worlds[first - 1].folding_codes() == {"a", "b"}


def test_a_rollback_that_could_not_move_the_views_can_be_repeated(cloud: Releases) -> None:
    cloud.deploy("b").assert_success()
    before = cloud.world.copy()
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    first = next(n for n, call in enumerate(cloud.calls) if "--args=move-views" in call)
    cloud.reset(dict.fromkeys(range(first, first + 3), "fail"), before)
    done = cloud.run("rollback")
    assert (done.returncode, cloud.world.viewed) == (1, "b")
    assert "not done: the views of analysts; run `release.py rollback`" in done.stderr
    cloud.faults.clear()
    cloud.run("rollback").assert_success()
    cloud.assert_serves("a")


def test_a_rollback_ignores_signals_and_can_be_repeated_after_a_kill(cloud: Releases) -> None:
    cloud.deploy("b", to="dev").assert_success()
    cloud.reset_calls()
    before = cloud.world
    cloud.world = before.copy()
    cloud.run("rollback").assert_success()
    count = len(cloud.calls)
    for number in range(count):
        cloud.reset({number: "kill"}, before)
        assert cloud.run("rollback").returncode < 0
        cloud.faults.clear()
        cloud.run("rollback").assert_success()
        cloud.assert_serves("a", number)
    # Signals are ignored once the rollback has read the state.
    for number in range(len(SERVICES), count):
        cloud.reset({number: "term"}, before)
        cloud.run("rollback").assert_success()
        cloud.assert_serves("a", number)


def test_a_rollback_after_an_early_kill_of_a_release_never_mixes_revisions(cloud: Releases) -> None:
    cloud.deploy("b", to="dev").assert_success()
    before = cloud.world
    marking = next(n for n, call in enumerate(cloud.calls) if "jobs" in call)
    for number in range(marking):
        cloud.reset({number: "kill"}, before)
        assert cloud.deploy("c").returncode < 0
        cloud.faults.clear()
        cloud.run("rollback")
        assert len({code for name in SERVICES for code in cloud.world.share(name)}) == 1


def test_a_rollback_fails_if_there_is_no_earlier_release(cloud: Releases) -> None:
    done = cloud.run("rollback")
    assert done.returncode == 1
    assert "nothing to roll back to" in done.stderr
    cloud.assert_serves("a")
    cloud.run("recover").assert_success()
    cloud.assert_serves("a")


def test_a_rollback_succeeds_after_an_operator_has_split_the_wake_ups(cloud: Releases) -> None:
    """The first run fails, because it cannot find green's revision; the second run succeeds.

    The first run does not send wake-ups to green, but does all other steps.
    """
    cloud.deploy("b").assert_success()
    halves = [{"revisionName": f"progress-project-0000{n}", "percent": 50} for n in (1, 2)]
    tagged = {"revisionName": "progress-project-00001", "tag": "blue"}
    cloud.world.route("progress-project", [*halves, tagged])
    done = cloud.run("rollback")
    assert (done.returncode, cloud.serving_code()) == (1, "a")
    assert "not done: green's revision;" in done.stderr
    cloud.run("rollback").assert_success()
    assert cloud.serving_code() == "a"


def test_a_release_does_not_change_traffic_that_an_operator_has_split(cloud: Releases) -> None:
    cloud.deploy("b").assert_success()
    halves = [{"revisionName": f"progress-query-0000{n}", "percent": 50} for n in (1, 2)]
    cloud.world.route("progress-query", halves)
    before = cloud.world.copy()
    done = cloud.deploy("c")
    assert done.returncode == 1
    assert "found progress-query-00001, progress-query-00002" in (done.stderr)
    assert cloud.world == before


@pytest.mark.parametrize(
    "wrong",
    [
        [f"--image={name[9:]}={image(name, 'b').split('@')[0]}:latest" for name in SERVICES],
        [f"--image=query={image('progress-query', 'b')}"],
        [f"--image={name[9:]}={image(name, 'b')}" for name in SERVICES] + ["--steps=50,25,100"],
        [f"--image={name[9:]}={image(name, 'b')}" for name in SERVICES] + ["--steps=5,50"],
    ],
)
def test_a_release_requires_image_digests_and_increasing_traffic_steps(
    cloud: Releases, wrong: list[str]
) -> None:
    done = cloud.run("deploy", "--environment=prod", *wrong)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert not cloud.calls


def test_the_region_is_that_of_the_environment_in_terraform(
    cloud: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(environments.FOLDER, tmp_path / "environments")
    with (folder / "prod.tfvars").open("a") as file:
        file.write('region = "asia-northeast1"\n')
    monkeypatch.setattr(environments, "FOLDER", folder)
    cloud.deploy().assert_success()
    for command in ("recover", "rollback"):
        cloud.run(command).assert_success()
    regions = {word for call in cloud.calls for word in call if word.startswith("--region")}
    assert regions == {"--region=asia-northeast1"}


def test_images_are_built_from_the_code_alone(cloud: Releases, tmp_path: Path) -> None:
    done = cloud.build()
    assert (done.returncode, done.stderr) == (0, "")
    functions = ("query", "ingest", "project")
    names = [f"{REPOSITORY}/{function}" for function in functions]
    digest = f"sha256:{'d' * 64}"
    pairs = zip(functions, names, strict=True)
    assert done.stdout.splitlines() == [f"{function}={name}@{digest}" for function, name in pairs]
    for function, name in zip(functions, names, strict=True):
        files = cloud.world.built[f"{name}:abc123"]
        rest = {file for file in files if not file.startswith(("progress/", "sql/"))}
        jobs = {"jobs/batch_aggregates/main.py"} if function == "project" else set()
        assert rest == {"requirements.txt", "main.py"} | jobs
        assert {
            "progress/projections/schema.py",
            "sql/projections/fold.sql",
            "progress/query/page/api.js",
        } <= files
        assert not [file for file in files if file.endswith(".pyc")]


@pytest.mark.exhaustive
def test_gcloud_accepts_the_syntax_of_every_call(
    cloud: Releases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sdk = gcloud_syntax.find_sdk() or skip_without(request, "gcloud")
    cloud.list_changing_calls()
    calls = list(cloud.calls)
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    cloud.build()
    cloud.build("beam_template.py")
    unknown = ["run", "deploy", "x", "--image=y", "--no-traffik"]
    calls += [*cloud.calls, unknown]
    assert gcloud_syntax.find_rejected(sdk, tmp_path, calls) == [unknown]


BEAM = ROOT / "infra/beam"
TEMPLATE = "gs://progress-dev-progress-templates/beam-rebuild.json"


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE))


def test_the_template_runs_the_image_that_was_built_from_the_code(
    cloud: Releases, tmp_path: Path
) -> None:
    done = cloud.build("beam_template.py")
    assert (done.returncode, done.stderr) == (0, "")
    name = f"{REPOSITORY}/beam-rebuild"
    image = f"{name}@sha256:{'d' * 64}"
    assert done.stdout == f"beam-rebuild={image}\n"
    template = json.loads(cloud.world.objects[TEMPLATE])
    assert template["image"] == template["defaultEnvironment"]["sdkContainerImage"] == image
    assert template["sdkInfo"] == {"language": "PYTHON"}
    assert template["metadata"] == json.loads((BEAM / "metadata.json").read_text())
    # The fake records only files with a dot in their names, so it omits the Dockerfile.
    files = cloud.world.built[f"{name}:abc123"]
    copied = re.findall(r"^COPY (?!--)(\S+)", (BEAM / "Dockerfile").read_text(), re.MULTILINE)
    assert {file.partition("/")[0] for file in files} == {*copied}
    assert {"progress/recovery/beam_pipeline.py", "sql/recovery/archive_rebuild.sql"} <= files


def test_the_lock_begins_with_the_packages_of_the_design() -> None:
    beginning = (ROOT / "requirements.txt").read_text().partition("==")[0]
    named = re.findall(r"^#   ([\w-]+) ", beginning, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(named) == 7
    assert {*named} <= {name.partition("[")[0] for name in project}
    assert {*named} <= read_pins(ROOT / "requirements.txt").keys()
    assert "pytest" in read_pins(ROOT / "requirements-dev.txt")


def test_beam_uses_the_package_versions_that_the_project_has_locked() -> None:
    beam, project = read_pins(BEAM / "requirements.txt"), read_pins(ROOT / "requirements.txt")
    named = (BEAM / "requirements.in").read_text().splitlines()
    own = {"apache-beam", *(line for line in named if line.startswith("#"))}
    names = [re.split("[=>]", line)[0] for line in named if line not in own]
    assert {name: beam[name] for name in names} == {name: project[name] for name in names}


def test_the_image_has_the_locked_version_of_beam() -> None:
    (tag,) = re.findall(r"apache/beam_python[\d.]+_sdk:([\d.]+)", (BEAM / "Dockerfile").read_text())
    assert tag == read_pins(BEAM / "requirements.txt")["apache-beam"]
