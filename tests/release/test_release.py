"""Releases, their recovery and the smoke test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.query.test_process import port
from tests.support import release_runs, token_issuer
from tests.support.fake_cloud import Cloud
from tests.support.release_runs import (
    assert_success,
    deploy,
    deployment,
    green_percents,
    serving_code,
    start,
)
from tests.support.release_world import SERVICES


def test_green_takes_over_step_by_step(cloud: Cloud, tmp_path: Path) -> None:
    assert_success(start(cloud, tmp_path, *deployment()))
    assert not cloud.find_violations()
    assert serving_code(cloud.world) == "b"
    assert (
        green_percents(cloud, "progress-query")
        == green_percents(cloud, "progress-ingest")
        == [5, 25, 50, 100]
    )
    assert green_percents(cloud, "progress-project") == [100]
    before = [("a", "prune-schemas"), ("b", "migrate"), *[("b", "batch")] * 4]
    assert cloud.world.executions == [*before, ("b", "move-views")]
    assert all(w.viewed == "a" for w in cloud.worlds if w.share("progress-project") == {"a": 100})
    assert {cloud.world.find_tagged(name, "blue") for name in SERVICES} == {"a"}


def test_blue_and_green_both_get_wake_ups_while_both_serve(cloud: Cloud) -> None:
    assert_success(deploy(cloud))
    during = [w for w in cloud.worlds if 0 < w.share("progress-query").get("b", 0) < 100]
    assert len(during) > 6
    assert all(world.folding_codes() == {"a", "b"} for world in during)


@pytest.mark.parametrize("to", ["dev", "staging"])
def test_a_release_outside_prod_has_one_step(cloud: Cloud, to: str) -> None:
    assert_success(deploy(cloud, to=to))
    assert not cloud.find_violations()
    assert serving_code(cloud.world) == "b"
    assert green_percents(cloud, "progress-query") == [100]
    assert bool(cloud.queries) == (to == "staging")


def _find_full_traffic_call(cloud: Cloud) -> int:
    """Return the number of the call that gives green's query function all traffic."""
    calls = release_runs.list_changing_calls(cloud)
    return next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])


@pytest.mark.parametrize("way", ["fail, too late", "term", "int, too late"])
def test_one_version_serves_even_if_a_failed_or_interrupted_call_took_effect(
    cloud: Cloud, way: str
) -> None:
    """After a failed traffic call, a release checks whether the call took effect nevertheless.

    After any other failed call, or any interrupted call, the release assumes that the call had no
    effect.
    """
    for number in release_runs.list_changing_calls(cloud):
        release_runs.reset(cloud, {number: way})
        done = release_runs.deploy(cloud, "b", "--steps=100")
        is_seen = way == "fail, too late" and "update-traffic" in cloud.calls[number]
        late = is_seen or release_runs.is_past_no_return(cloud)
        release_runs.assert_one_version_serves(cloud, done, is_new=late)


@pytest.mark.parametrize("way", ["kill", "kill, too late"])
def test_a_killed_release_is_recovered(cloud: Cloud, way: str) -> None:
    for number in release_runs.list_changing_calls(cloud):
        release_runs.reset(cloud, {number: way})
        assert release_runs.deploy(cloud, "b", "--steps=100").returncode < 0
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        (serving,) = cloud.world.share("progress-project")
        done = release_runs.run(cloud, "recover")
        context = f"at call {number}: {done.stdout}"
        assert done.returncode == 0, context + done.stderr
        assert not cloud.find_violations(), context
        assert release_runs.serving_code(cloud.world) == serving, context


def test_the_next_release_first_recovers_a_killed_release(cloud: Cloud) -> None:
    for number in release_runs.list_changing_calls(cloud):
        release_runs.reset(cloud, {number: "kill"})
        release_runs.deploy(cloud, "b", "--steps=100")
        cloud.faults.clear()
        done = release_runs.deploy(cloud, "c", to="dev")
        assert done.returncode == 0, f"at call {number}: {done.stdout}{done.stderr}"
        assert not cloud.find_violations()
        assert release_runs.serving_code(cloud.world) == "c"


def test_a_recovery_that_is_interrupted_can_be_repeated(cloud: Cloud) -> None:
    to_green = _find_full_traffic_call(cloud)
    for number in range(100):
        release_runs.reset(cloud, {to_green: "kill, too late"})
        release_runs.deploy(cloud, "b", "--steps=100")
        cloud.reset_calls()
        cloud.faults[number] = "term"
        done = release_runs.run(cloud, "recover")
        assert (done.returncode == 0) == (len(cloud.calls) <= number)
        if done.returncode == 0:
            break
        assert "interrupted by SIGTERM" in done.stderr
        assert len(cloud.calls) == number + 1
        cloud.faults.clear()
        release_runs.assert_success(release_runs.run(cloud, "recover"))
        assert release_runs.serving_code(cloud.world) == "a"


def test_another_process_recovers_a_killed_release(cloud: Cloud, tmp_path: Path) -> None:
    to_green = _find_full_traffic_call(cloud)
    release_runs.reset(cloud, {to_green: "kill, too late"})
    assert (
        release_runs.start(cloud, tmp_path, *release_runs.deployment("b", "--steps=100")).returncode
        < 0
    )
    assert cloud.world.share("progress-query") == {"b": 100}
    cloud.faults.clear()
    release_runs.assert_success(release_runs.start(cloud, tmp_path, "recover"))
    assert release_runs.serving_code(cloud.world) == "a"


ROOT = Path(__file__).resolve().parents[2]

__all__ = ["port"]


@pytest.mark.parametrize(
    ("token", "failed"), [(None, False), ("a learner's", False), ("nobody's", True)]
)
def test_the_query_function_passes_the_smoke_test_unless_the_token_is_invalid(
    port: int, token: str | None, *, failed: bool
) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "infra/release")}
    if token:
        environment["SMOKE_TOKEN"] = token_issuer.token("ann") if "learner" in token else token
    done = subprocess.run(
        [sys.executable, "-c", f"import smoke; smoke.Green('http://127.0.0.1:{port}').check(tries=1)"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert bool(done.returncode) == failed, done.stderr
    assert ("green's GraphQL gave an unexpected response: 401" in done.stderr) == failed
