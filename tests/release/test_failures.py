"""After a failure, hang or interrupt at any call of a release, exactly one version serves."""

import os
import re
from pathlib import Path

import exit_status
import gcloud
import psutil
import pytest

from progress.local import readiness
from tests.support.fake_cloud import Cloud
from tests.support.release_runs import (
    assert_one_version_serves,
    assert_success,
    deploy,
    deployment,
    is_past_no_return,
    list_changing_calls,
    reset,
    run,
    serving_code,
    start,
)
from tests.support.release_world import SERVICES, image


def test_one_version_serves_and_a_second_run_succeeds_after_any_failed_call(cloud: Cloud) -> None:
    """A release reads the state after each traffic call, and continues if only this read fails."""
    list_changing_calls(cloud)
    looks = [n + 1 for n, call in enumerate(cloud.calls) if "update-traffic" in call]
    for number in range(len(cloud.calls)):
        reset(cloud, {number: "fail"})
        done = deploy(cloud, "b", "--steps=100")
        late = number in looks or is_past_no_return(cloud)
        assert_one_version_serves(cloud, done, is_new=late)
        cloud.reset_calls()
        assert_success(deploy(cloud, "c", to="dev"))
        assert not cloud.find_violations(), number
        assert serving_code(cloud.world) == "c", number


def test_a_traffic_call_that_reports_success_without_effect_is_detected(cloud: Cloud) -> None:
    numbers, calls = list_changing_calls(cloud), list(cloud.calls)
    for number in numbers:
        if {*calls[number]} & {"deploy", "update-traffic"}:
            reset(cloud, {number: "lost"})
            done = deploy(cloud, "b", "--steps=100")
            # The release succeeds even if the removal of a tag has no effect. It first removes the
            # tag `blue`, which no revision has yet. At the end, it removes the tag `green`, and
            # retries if the tag is still there.
            untags = calls[number][-1].startswith("--remove-tags")
            assert_one_version_serves(cloud, done, is_new=untags)


def test_only_the_released_image_gets_traffic(cloud: Cloud) -> None:
    """gcloud may report a deployment as done while the newest revision runs another image."""
    cloud.graphql = (500, {})
    assert deploy(cloud, "c").returncode == 1
    left, well = cloud.world, (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})
    cloud.graphql = well
    cloud.reset_calls()
    cloud.world = left.copy()
    assert_success(deploy(cloud, "b"))
    deployments = [n for n, call in enumerate(cloud.calls) if "deploy" in call]
    assert len(deployments) == 3
    for number in deployments:
        reset(cloud, {number: "lost"}, left)
        assert "the newest revision, " in deploy(cloud, "b").stderr
        assert serving_code(cloud.world) == "a"
    calls = list_changing_calls(cloud)
    reset(cloud, {next(n for n in calls if "deploy" in cloud.calls[n]): "lost"})
    assert "query has no new revision tagged green" in deploy(cloud, "a", "--steps=100").stderr
    assert serving_code(cloud.world) == "a"


@pytest.mark.parametrize("service", SERVICES)
def test_the_next_release_succeeds_after_a_release_whose_revision_does_not_start(
    cloud: Cloud, service: str
) -> None:
    """While the newest revision cannot start, gcloud reports an error for each change of a service.

    Nevertheless, the change may have been applied.
    """
    cloud.world.broken = {image(service, "b")}
    done = deploy(cloud)
    assert "is not ready and cannot serve traffic" in done.stderr
    assert "Blue has all traffic" in done.stdout
    assert not cloud.find_violations()
    assert serving_code(cloud.world) == "a"
    deploying = len(cloud.calls)
    cloud.reset_calls()
    assert_success(deploy(cloud, "c"))
    assert serving_code(cloud.world) == "c"
    for number in range(10, deploying):
        reset(cloud, {number: "kill"})
        cloud.world.broken = {image(service, "b")}
        if deploy(cloud).returncode > 0:
            break
        cloud.reset_calls()
        assert_success(deploy(cloud, "c", to="dev"))
        assert serving_code(cloud.world) == "c"


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


@pytest.mark.parametrize("way", ["term", "int, too late"])
def test_an_interrupted_release_reports_its_rollback(
    cloud: Cloud, tmp_path: Path, way: str
) -> None:
    calls = list_changing_calls(cloud)
    reset(cloud, {next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1]): way})
    done = start(cloud, tmp_path, *deployment("b", "--steps=100"))
    assert done.returncode == 1
    assert re.search("interrupted by SIG(TERM|INT)", done.stderr)
    assert "Blue has all traffic: progress-query-00001" in done.stdout
    assert serving_code(cloud.world) == "a"


def test_a_green_revision_without_an_address_gets_no_traffic(cloud: Cloud) -> None:
    cloud.world.has_addresses = False
    assert "progress-project has no address for the tag green" in deploy(cloud).stderr
    assert serving_code(cloud.world) == "a"


def test_a_rollback_ignores_signals(cloud: Cloud) -> None:
    calls = list_changing_calls(cloud)
    first = next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])
    for later in range(1, 12):
        reset(cloud, {first: "fail", first + later: "term"})
        assert deploy(cloud, "b", "--steps=100").returncode == 1
        assert len(cloud.calls) > first + later
        assert not cloud.find_violations()
        assert serving_code(cloud.world) == "a"


@pytest.mark.parametrize("service", SERVICES)
def test_a_release_past_the_point_of_no_return_is_finished_and_not_rolled_back(
    cloud: Cloud, service: str
) -> None:
    calls = list_changing_calls(cloud)
    untag = {"update-traffic", service, "--remove-tags=green"}
    first = next(n for n in calls if untag <= {*cloud.calls[n]})
    reset(cloud, dict.fromkeys(range(first, first + 5), "fail"))
    done = deploy(cloud, "b", "--steps=100")
    assert done.returncode == 1
    assert f"not done: {service}'s tag; run `release.py recover`" in done.stderr
    cloud.reset_calls()
    assert_success(run(cloud, "recover"))
    assert serving_code(cloud.world) == "b"


def test_a_failed_rollback_names_the_remaining_steps(cloud: Cloud) -> None:
    calls = list_changing_calls(cloud)
    first = next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])
    reset(cloud, dict.fromkeys(range(first, first + 200), "fail"))
    done = deploy(cloud, "b", "--steps=100")
    assert done.returncode == 1
    assert "progress-query's traffic" in done.stderr
    assert "run `release.py rollback` until it succeeds" in done.stderr
    cloud.reset_calls()
    assert_success(run(cloud, "rollback"))
    assert not cloud.find_violations()
    assert serving_code(cloud.world) == "a"
