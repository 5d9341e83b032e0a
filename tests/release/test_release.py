"""A release that succeeds: blue-green to the end, and who folds for whom on the way."""

from pathlib import Path

import pytest

from tests.support.fake_cloud import Cloud
from tests.support.release_runs import cloud, deploy, deployment, served, shares, start, succeeded
from tests.support.release_world import SERVICES

__all__ = ["cloud"]


def test_green_takes_over_step_by_step(cloud: Cloud, tmp_path: Path) -> None:
    succeeded(start(cloud, tmp_path, *deployment()))
    assert not cloud.wrong()
    assert served(cloud.world) == "b"
    assert shares(cloud, "progress-query") == shares(cloud, "progress-ingest") == [5, 25, 50, 100]
    assert shares(cloud, "progress-project") == [100]
    assert cloud.world.executions == [("a", "contract"), ("b", "migrate"), *[("b", "batch")] * 4]
    assert {cloud.world.tagged(name, "blue") for name in SERVICES} == {"a"}


def test_blue_and_green_both_get_wake_ups_while_both_serve(
    cloud: Cloud,
) -> None:
    succeeded(deploy(cloud))
    during = [w for w in cloud.stood if 0 < w.share("progress-query").get("b", 0) < 100]
    assert len(during) > 6
    assert all(world.folded() == {"a", "b"} for world in during)


@pytest.mark.parametrize("to", ["dev", "staging"])
def test_outside_prod_a_release_has_one_step(cloud: Cloud, to: str) -> None:
    succeeded(deploy(cloud, to=to))
    assert not cloud.wrong()
    assert served(cloud.world) == "b"
    assert shares(cloud, "progress-query") == [100]
    assert bool(cloud.asked) == (to == "staging")
