"""Whichever call of a release fails or hangs, and whoever stops it: one code serves."""

import re
from pathlib import Path

import pytest
from fakecloud import Cloud
from releasing import PARTS, anew, changing, cloud, deploy, past_return, run, served, succeeded

__all__ = ["cloud"]


@PARTS
def test_whichever_call_fails_one_code_serves_and_a_second_run_succeeds(
    cloud: Cloud, tmp_path: Path, part: int
) -> None:
    changing(cloud, tmp_path)
    for number in range(part, len(cloud.calls), 3):
        anew(cloud, {number: "fail"})
        done = deploy(cloud, tmp_path, "b", "--steps=100")
        where = f"at call {number}: {done.stdout[-2_000:]}"
        late = past_return(cloud)
        assert done.returncode == (0 if late else 1), where
        assert not cloud.wrong(), where
        assert served(cloud.world) == ("b" if late else "a"), where
        if number % 4 == part:
            cloud.forget()
            succeeded(deploy(cloud, tmp_path, "c", to="dev"))
            assert not cloud.wrong(), where
            assert served(cloud.world) == "c", where


def test_a_call_that_hangs_is_ended(cloud: Cloud, tmp_path: Path) -> None:
    calls = changing(cloud, tmp_path)
    deployment = next(n for n in calls if "deploy" in cloud.calls[n])
    to_half = next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])
    for number in (calls[0], deployment, to_half):
        anew(cloud, {number: "hang"})
        done = deploy(cloud, tmp_path, "b", "--steps=100", "--patience=3")
        assert done.returncode == 1
        assert "was not done after 3 s and was ended" in done.stderr
        assert not cloud.wrong()
        assert served(cloud.world) == "a"


@pytest.mark.parametrize("way", ["term", "int, too late"])
def test_whoever_stops_it_is_told_what_became_of_it(cloud: Cloud, tmp_path: Path, way: str) -> None:
    calls = changing(cloud, tmp_path)
    anew(cloud, {next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1]): way})
    done = deploy(cloud, tmp_path, "b", "--steps=100")
    assert done.returncode == 1
    assert re.search("interrupted by SIG(TERM|INT)", done.stderr)
    assert "Blue has all traffic: progress-query-00001" in done.stdout
    assert served(cloud.world) == "a"


def test_the_way_back_is_not_stopped(cloud: Cloud, tmp_path: Path) -> None:
    calls = changing(cloud, tmp_path)
    first = next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])
    for later in (1, 3, 6):
        anew(cloud, {first: "fail", first + later: "term"})
        assert deploy(cloud, tmp_path, "b", "--steps=100").returncode == 1
        assert len(cloud.calls) > first + later
        assert not cloud.wrong()
        assert served(cloud.world) == "a"


def test_what_cannot_be_undone_is_named(cloud: Cloud, tmp_path: Path) -> None:
    calls = changing(cloud, tmp_path)
    first = next(n for n in calls if "progress-query-00002=100" in cloud.calls[n][-1])
    anew(cloud, dict.fromkeys(range(first, first + 200), "fail"))
    done = deploy(cloud, tmp_path, "b", "--steps=100")
    assert done.returncode == 1
    assert "progress-query's traffic" in done.stderr
    assert "run `release.py back` until nothing is left" in done.stderr
    cloud.forget()
    succeeded(run(cloud, tmp_path, "back"))
    assert not cloud.wrong()
    assert served(cloud.world) == "a"
