"""A successful release moves all traffic to green while the read models of blue stay current."""

from pathlib import Path

import pytest

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
    before = [("a", "contract"), ("b", "migrate"), *[("b", "batch")] * 4]
    assert cloud.world.executions == [*before, ("b", "move-views")]
    assert all(w.viewed == "a" for w in cloud.worlds if w.share("progress-project") == {"a": 100})
    assert {cloud.world.find_tagged(name, "blue") for name in SERVICES} == {"a"}


def test_blue_and_green_both_get_wake_ups_while_both_serve(
    cloud: Cloud,
) -> None:
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
