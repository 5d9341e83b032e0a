"""The rollback of a finished release, and the syntax of all gcloud calls."""

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support import release_runs
from tests.support.fake_cloud import Cloud
from tests.support.release_runs import (
    ROOT,
    assert_success,
    deploy,
    list_changing_calls,
    reset,
    run,
    serving_code,
)
from tests.support.release_world import REPOSITORY, SERVICES, image

# Print the commands that gcloud's own parser rejects. No command is executed.
PARSE = """
import json, sys
sys.path[:0] = [sys.argv[1] + "/lib", sys.argv[1] + "/lib/third_party"]
from googlecloudsdk import gcloud_main
cli = gcloud_main.CreateCLI([])
for call in json.load(sys.stdin):
    try:
        cli._CLI__parser.parse_args(call)
    except SystemExit:
        print(json.dumps(call))
"""


def test_a_finished_release_can_be_rolled_back(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b"))
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    assert not cloud.find_violations()
    assert serving_code(cloud.world) == "a"
    # Blue's batch job folds the events that were stored since the release.
    assert cloud.world.executions[-2:] == [("a", "batch"), ("a", "move-views")]
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    assert not [call for call in cloud.calls if "describe" not in call]
    assert_success(deploy(cloud, "c", to="dev"))
    assert serving_code(cloud.world) == "c"


def test_blue_catches_up_before_it_serves_queries(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b"))
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    first = next(n for n, w in enumerate(cloud.worlds) if "a" in w.share("progress-query"))
    assert cloud.worlds[first - 1].executions[-1] == ("a", "batch")
    assert cloud.worlds[first - 1].folding_codes() == {"a", "b"}


def test_a_rollback_that_could_not_move_the_views_can_be_repeated(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b"))
    before = cloud.world.copy()
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    first = next(n for n, call in enumerate(cloud.calls) if "--args=move-views" in call)
    reset(cloud, dict.fromkeys(range(first, first + 3), "fail"), before)
    done = run(cloud, "rollback")
    assert (done.returncode, cloud.world.viewed) == (1, "b")
    assert "not done: the views of analysts; run `release.py rollback`" in done.stderr
    cloud.faults.clear()
    assert_success(run(cloud, "rollback"))
    assert serving_code(cloud.world) == "a"


def test_a_rollback_ignores_signals_and_can_be_repeated_after_a_kill(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b", to="dev"))
    cloud.reset_calls()
    before = cloud.world
    cloud.world = before.copy()
    assert_success(run(cloud, "rollback"))
    count = len(cloud.calls)
    for number in range(count):
        reset(cloud, {number: "kill"}, before)
        assert run(cloud, "rollback").returncode < 0
        cloud.faults.clear()
        assert_success(run(cloud, "rollback"))
        assert not cloud.find_violations()
        assert serving_code(cloud.world) == "a", number
    # Signals are ignored once the rollback has read the state.
    for number in range(len(SERVICES), count):
        reset(cloud, {number: "term"}, before)
        assert_success(run(cloud, "rollback"))
        assert not cloud.find_violations()
        assert serving_code(cloud.world) == "a", number


def test_a_rollback_after_an_early_kill_of_a_release_never_mixes_revisions(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b", to="dev"))
    before = cloud.world
    marking = next(n for n, call in enumerate(cloud.calls) if "jobs" in call)
    for number in range(marking):
        reset(cloud, {number: "kill"}, before)
        assert deploy(cloud, "c").returncode < 0
        cloud.faults.clear()
        run(cloud, "rollback")
        assert len({code for name in SERVICES for code in cloud.world.share(name)}) == 1


def test_a_rollback_fails_if_there_is_no_earlier_release(cloud: Cloud) -> None:
    done = run(cloud, "rollback")
    assert done.returncode == 1
    assert "nothing to roll back to" in done.stderr
    assert serving_code(cloud.world) == "a"
    assert_success(run(cloud, "recover"))
    assert serving_code(cloud.world) == "a"


def test_a_rollback_succeeds_after_an_operator_has_split_the_wake_ups(cloud: Cloud) -> None:
    """The first run fails, because it cannot find green's revision; the second run succeeds.

    The first run does not send wake-ups to green, but does all other steps.
    """
    assert_success(deploy(cloud, "b"))
    halves = [{"revisionName": f"progress-project-0000{n}", "percent": 50} for n in (1, 2)]
    tagged = {"revisionName": "progress-project-00001", "tag": "blue"}
    cloud.world.route("progress-project", [*halves, tagged])
    done = run(cloud, "rollback")
    assert (done.returncode, serving_code(cloud.world)) == (1, "a")
    assert "not done: green's revision;" in done.stderr
    assert_success(run(cloud, "rollback"))
    assert serving_code(cloud.world) == "a"


def test_a_release_does_not_change_traffic_that_an_operator_has_split(cloud: Cloud) -> None:
    assert_success(deploy(cloud, "b"))
    halves = [{"revisionName": f"progress-query-0000{n}", "percent": 50} for n in (1, 2)]
    cloud.world.route("progress-query", halves)
    before = cloud.world.copy()
    done = deploy(cloud, "c")
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
    cloud: Cloud, wrong: list[str]
) -> None:
    done = run(cloud, "deploy", "--environment=prod", *wrong)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert not cloud.calls


def test_images_are_built_from_the_files_in_terraform_s_source_archives(
    cloud: Cloud, tmp_path: Path
) -> None:
    done = release_runs.build(cloud, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    functions = ("query", "ingest", "project")
    names = [f"{REPOSITORY}/{function}" for function in functions]
    digest = f"sha256:{'d' * 64}"
    pairs = zip(functions, names, strict=True)
    assert done.stdout.splitlines() == [f"{function}={name}@{digest}" for function, name in pairs]
    described = (ROOT / "infra/terraform/function_sources.tf").read_text()
    own = dict(re.findall(r"^    (\w+) += \{([^}]*)\}$", described, re.MULTILINE))
    for function, name in zip(functions, names, strict=True):
        archived = dict(re.findall(r'"([^"]+)" += "([^"]+)"', own[function]))
        files = cloud.world.built[f"{name}:abc123"]
        rest = {file for file in files if not file.startswith(("progress/", "sql/"))}
        assert rest == {"requirements.txt", *archived}
        assert {
            "progress/projections/schema.py",
            "sql/projections/fold.sql",
            "progress/query/page/api.js",
        } <= files
        assert not [file for file in files if file.endswith(".pyc")]


def test_gcloud_accepts_the_syntax_of_every_call(
    cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sdk = _sdk() or skip_without(request, "gcloud")
    list_changing_calls(cloud)
    calls = list(cloud.calls)
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    release_runs.build(cloud, tmp_path)
    release_runs.build(cloud, tmp_path, "beam_template.py")
    unknown = ["run", "deploy", "x", "--image=y", "--no-traffik"]
    assert _unknown(sdk, tmp_path, [*calls, *cloud.calls, unknown]) == [unknown]


@functools.cache
def _sdk() -> Path | None:
    """Return the folder of the installed Google Cloud SDK, or None."""
    program = shutil.which("gcloud")
    return Path(program).resolve().parent.parent if program else None


def _unknown(sdk: Path, folder: Path, calls: list[list[str]]) -> list[list[str]]:
    """Return the calls that the SDK's gcloud rejects."""
    own = sdk / "platform/bundledpythonunix/bin/python3"
    python = str(own) if own.exists() else os.environ.get("CLOUDSDK_PYTHON", "python3")
    done = subprocess.run(
        [python, "-S", "-c", PARSE, str(sdk)], input=json.dumps(calls), text=True,
        capture_output=True, check=False, timeout=100,
        env={"CLOUDSDK_CONFIG": str(folder / "config"), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
