"""Recovery of a release that is interrupted or killed at any of its calls."""

from pathlib import Path

import pytest

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


def _find_full_traffic_call(cloud: Cloud) -> int:
    """Return the number of the call that gives green's query function all traffic."""
    calls = list_changing_calls(cloud)
    return next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])


@pytest.mark.parametrize("way", ["fail, too late", "term", "int, too late"])
def test_a_release_handles_an_interrupted_call_that_took_effect(cloud: Cloud, way: str) -> None:
    """A release checks whether traffic moved, and treats any other failed call as not done."""
    for number in list_changing_calls(cloud):
        reset(cloud, {number: way})
        done = deploy(cloud, "b", "--steps=100")
        is_seen = way == "fail, too late" and "update-traffic" in cloud.calls[number]
        late = is_seen or is_past_no_return(cloud)
        assert_one_version_serves(cloud, done, is_new=late)


@pytest.mark.parametrize("way", ["kill", "kill, too late"])
def test_a_killed_release_is_recovered(cloud: Cloud, way: str) -> None:
    for number in list_changing_calls(cloud):
        reset(cloud, {number: way})
        assert deploy(cloud, "b", "--steps=100").returncode < 0
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        (serving,) = cloud.world.share("progress-project")
        done = run(cloud, "recover")
        context = f"at call {number}: {done.stdout}"
        assert done.returncode == 0, context + done.stderr
        assert not cloud.find_violations(), context
        assert serving_code(cloud.world) == serving, context


def test_the_next_release_first_recovers_a_killed_release(cloud: Cloud) -> None:
    for number in list_changing_calls(cloud):
        reset(cloud, {number: "kill"})
        deploy(cloud, "b", "--steps=100")
        cloud.faults.clear()
        done = deploy(cloud, "c", to="dev")
        assert done.returncode == 0, f"at call {number}: {done.stdout}{done.stderr}"
        assert not cloud.find_violations()
        assert serving_code(cloud.world) == "c"


def test_a_recovery_that_is_interrupted_can_be_repeated(cloud: Cloud) -> None:
    to_green = _find_full_traffic_call(cloud)
    for number in range(100):
        reset(cloud, {to_green: "kill, too late"})
        deploy(cloud, "b", "--steps=100")
        cloud.reset_calls()
        cloud.faults[number] = "term"
        done = run(cloud, "recover")
        assert (done.returncode == 0) == (len(cloud.calls) <= number)
        if done.returncode == 0:
            break
        assert "interrupted by SIGTERM" in done.stderr
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        assert_success(run(cloud, "recover"))
        assert serving_code(cloud.world) == "a"


def test_a_killed_release_process_is_recovered_by_another_process(
    cloud: Cloud, tmp_path: Path
) -> None:
    to_green = _find_full_traffic_call(cloud)
    reset(cloud, {to_green: "kill, too late"})
    assert start(cloud, tmp_path, *deployment("b", "--steps=100")).returncode < 0
    assert cloud.world.share("progress-query") == {"b": 100}
    cloud.faults.clear()
    assert_success(start(cloud, tmp_path, "recover"))
    assert serving_code(cloud.world) == "a"
