"""A release that is cut off, or killed, at each of its calls: what is left and how it is mended."""

from pathlib import Path

import pytest
from fakecloud import Cloud
from releasing import PARTS, anew, changing, cloud, deploy, past_return, run, served

__all__ = ["cloud"]


@PARTS
@pytest.mark.parametrize("way", ["fail, too late", "term"])
def test_a_call_that_is_cut_off_may_have_had_its_effect(
    cloud: Cloud, tmp_path: Path, way: str, part: int
) -> None:
    for number in changing(cloud, tmp_path)[part::3]:
        anew(cloud, {number: way})
        done = deploy(cloud, tmp_path, "b", "--steps=100")
        where = f"at call {number}: {done.stdout[-2_000:]}"
        late = past_return(cloud)
        assert done.returncode == (0 if late else 1), where
        assert not cloud.wrong(), where
        assert served(cloud.world) == ("b" if late else "a"), where


@PARTS
def test_what_a_killed_release_left_is_mended(cloud: Cloud, tmp_path: Path, part: int) -> None:
    for number in changing(cloud, tmp_path)[part::3]:
        anew(cloud, {number: "kill"})
        assert deploy(cloud, tmp_path, "b", "--steps=100").returncode < 0
        cloud.faults.clear()
        (serving,) = cloud.world.share("progress-project")
        done = run(cloud, tmp_path, "mend")
        where = f"at call {number}: {done.stdout}"
        assert done.returncode == 0, where + done.stderr
        assert not cloud.wrong(), where
        assert served(cloud.world) == serving, where


def test_after_a_killed_release_the_next_one_begins_by_mending(
    cloud: Cloud, tmp_path: Path
) -> None:
    for number in changing(cloud, tmp_path)[::5]:
        anew(cloud, {number: "kill"})
        deploy(cloud, tmp_path, "b", "--steps=100")
        cloud.faults.clear()
        done = deploy(cloud, tmp_path, "c", to="dev")
        assert done.returncode == 0, f"at call {number}: {done.stdout}{done.stderr}"
        assert not cloud.wrong()
        assert served(cloud.world) == "c"
