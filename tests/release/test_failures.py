"""After a failure, hang or interrupt at any call of a release, exactly one version serves."""

import os
import re
from pathlib import Path

import exit_status
import gcloud
import psutil
import pytest

from progress.local import readiness
from tests.support.release_runs import Releases, deployment
from tests.support.release_world import SERVICES, image


@pytest.mark.exhaustive
def test_one_version_serves_and_a_second_run_succeeds_after_any_failed_call(
    cloud: Releases,
) -> None:
    """A release reads the state after each traffic call, and continues if only this read fails."""
    cloud.list_changing_calls()
    looks = [n + 1 for n, call in enumerate(cloud.calls) if "update-traffic" in call]
    for number in range(len(cloud.calls)):
        cloud.reset({number: "fail"})
        done = cloud.deploy("b", "--steps=100")
        late = number in looks or cloud.is_past_no_return()
        cloud.assert_one_version_serves(done, is_new=late)
        cloud.reset_calls()
        cloud.deploy("c", to="dev").assert_success()
        cloud.assert_serves("c", number)


def test_a_traffic_call_that_reports_success_without_effect_is_detected(cloud: Releases) -> None:
    numbers, calls = cloud.list_changing_calls(), list(cloud.calls)
    for number in numbers:
        if {*calls[number]} & {"deploy", "update-traffic"}:
            cloud.reset({number: "lost"})
            done = cloud.deploy("b", "--steps=100")
            # The release succeeds even if the removal of a tag has no effect. It first removes the
            # tag `blue`, which no revision has yet. At the end, it removes the tag `green`, and
            # retries if the tag is still there.
            untags = calls[number][-1].startswith("--remove-tags")
            cloud.assert_one_version_serves(done, is_new=untags)


def test_only_the_released_image_gets_traffic(cloud: Releases) -> None:
    """gcloud may report a deployment as done while the newest revision runs another image."""
    cloud.graphql = (500, {})
    assert cloud.deploy("c").returncode == 1
    left, well = cloud.world, (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})
    cloud.graphql = well
    cloud.reset_calls()
    cloud.world = left.copy()
    cloud.deploy("b").assert_success()
    deployments = [n for n, call in enumerate(cloud.calls) if "deploy" in call]
    assert len(deployments) == 3
    for number in deployments:
        cloud.reset({number: "lost"}, left)
        assert "the newest revision, " in cloud.deploy("b").stderr
        cloud.assert_serves("a")
    calls = cloud.list_changing_calls()
    cloud.reset({next(n for n in calls if "deploy" in cloud.calls[n]): "lost"})
    assert "query has no new revision tagged green" in cloud.deploy("a", "--steps=100").stderr
    cloud.assert_serves("a")


@pytest.mark.first_in_gate
@pytest.mark.parametrize("service", SERVICES)
def test_the_next_release_succeeds_after_a_release_whose_revision_does_not_start(
    cloud: Releases, service: str
) -> None:
    """While the newest revision cannot start, gcloud reports an error for each change of a service.

    Nevertheless, the change may have been applied.
    """
    cloud.world.broken = {image(service, "b")}
    done = cloud.deploy()
    assert "is not ready and cannot serve traffic" in done.stderr
    assert "Blue has all traffic" in done.stdout
    cloud.assert_serves("a")
    deploying = len(cloud.calls)
    cloud.reset_calls()
    cloud.deploy("c").assert_success()
    cloud.assert_serves("c")
    for number in range(10, deploying):
        cloud.reset({number: "kill"})
        cloud.world.broken = {image(service, "b")}
        if cloud.deploy().returncode > 0:
            break
        cloud.reset_calls()
        cloud.deploy("c", to="dev").assert_success()
        cloud.assert_serves("c")


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
    cloud: Releases, tmp_path: Path, way: str
) -> None:
    cloud.reset({cloud.find_full_traffic_call(): way})
    done = cloud.start(*deployment("b", "--steps=100"))
    assert done.returncode == 1
    assert re.search("interrupted by SIG(TERM|INT)", done.stderr)
    assert "Blue has all traffic: progress-query-00001" in done.stdout
    cloud.assert_serves("a")


def test_a_green_revision_without_an_address_gets_no_traffic(cloud: Releases) -> None:
    cloud.world.has_addresses = False
    assert "progress-project has no address for the tag green" in cloud.deploy().stderr
    cloud.assert_serves("a")


def test_a_rollback_ignores_signals(cloud: Releases) -> None:
    first = cloud.find_full_traffic_call()
    for later in range(1, 12):
        cloud.reset({first: "fail", first + later: "term"})
        assert cloud.deploy("b", "--steps=100").returncode == 1
        assert len(cloud.calls) > first + later
        cloud.assert_serves("a")


@pytest.mark.parametrize("service", SERVICES)
def test_a_release_past_the_point_of_no_return_is_finished_and_not_rolled_back(
    cloud: Releases, service: str
) -> None:
    calls = cloud.list_changing_calls()
    untag = {"update-traffic", service, "--remove-tags=green"}
    first = next(n for n in calls if untag <= {*cloud.calls[n]})
    cloud.reset(dict.fromkeys(range(first, first + 5), "fail"))
    done = cloud.deploy("b", "--steps=100")
    assert done.returncode == 1
    assert f"not done: {service}'s tag; run `release.py recover`" in done.stderr
    cloud.reset_calls()
    cloud.run("recover").assert_success()
    cloud.assert_serves("b")


def test_a_failed_rollback_names_the_remaining_steps(cloud: Releases) -> None:
    first = cloud.find_full_traffic_call()
    cloud.reset(dict.fromkeys(range(first, first + 200), "fail"))
    done = cloud.deploy("b", "--steps=100")
    assert done.returncode == 1
    assert "progress-query's traffic" in done.stderr
    assert "run `release.py rollback` until it succeeds" in done.stderr
    cloud.reset_calls()
    cloud.run("rollback").assert_success()
    cloud.assert_serves("a")
