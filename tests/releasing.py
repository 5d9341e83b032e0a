"""Releases in a test: the script among the fakes, and what became of the world."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fakecloud
import pytest
from fakecloud import Cloud
from releaseworld import GREEN_SUBSCRIPTION, JOBS, SERVICES, World, image

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "infra/release/release.py"
NOW = ("--hold=0", "--delay=0", "--every=0")
WHERE = ("--project=p", "--region=europe-west1", "--patience=100")
PARTS = pytest.mark.parametrize("part", range(3))  # of the calls of a release

Numbers = Callable[[str, str], float | None]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Blue has code `a`; all is well."""
    with fakecloud.running(tmp_path) as made:
        made.monitoring = numbers()
        yield made


def numbers(requests: float = 1_000, p95: float | None = 80, **more: float) -> Numbers:
    """What Monitoring tells of any revision; `failed` by the platform, `errors` by our lines."""

    def told(question: str, revision: str) -> float | None:
        if "histogram_quantile" in question:
            return p95
        if "progress_outcome" in question:
            return more.get("errors")
        return more.get("failed") if "5xx" in question else requests

    return told


def environment(cloud: Cloud, tmp_path: Path) -> dict[str, str]:
    """The fake `gcloud` before all others, and where the fakes are."""
    return {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "FAKE_GCLOUD_PORT": str(cloud.port),
        "RELEASE_MONITORING_URL": cloud.world.address,
    }


def run(
    cloud: Cloud, tmp_path: Path, command: str, *more: str
) -> "subprocess.CompletedProcess[str]":
    """The script, among the fakes."""
    return subprocess.run(
        [sys.executable, SCRIPT, command, *WHERE, *more], capture_output=True, text=True,
        timeout=100, check=False,
        env=environment(cloud, tmp_path),
    )  # fmt: skip


def deploy(
    cloud: Cloud, tmp_path: Path, code: str = "b", *more: str, to: str = "prod"
) -> "subprocess.CompletedProcess[str]":
    """A release of this code."""
    images = [f"--image={name.removeprefix('progress-')}={image(name, code)}" for name in SERVICES]
    given = ("--environment", to, *images, *(NOW if to != "dev" else ()))
    return run(cloud, tmp_path, "deploy", *given, *more)


def served(world: World) -> str:
    """The code that has all traffic, of which alone the jobs run, and nothing is left to do."""
    (code,) = {code for name in SERVICES for code in world.share(name)}
    assert world.jobs == dict.fromkeys(JOBS, image("progress-project", code))
    assert GREEN_SUBSCRIPTION not in world.subscriptions
    assert not [name for name in SERVICES if world.tagged(name, "green")]
    return code


def succeeded(done: "subprocess.CompletedProcess[str]") -> None:
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3_000:] + done.stderr


def shares(cloud: Cloud, service: str) -> list[int]:
    """What green had of the service's traffic, one after the other."""
    found: list[int] = []
    for world in cloud.stood:
        share = world.share(service).get("b", 0)
        if share != (found or [0])[-1]:
            found.append(share)
    return found


def past_return(cloud: Cloud) -> bool:
    """Whether the call that gave project's wake-ups to green succeeded."""
    given = [n for n, world in enumerate(cloud.stood) if "b" in world.share("progress-project")]
    return bool(given) and given[0] not in cloud.faults


def changing(cloud: Cloud, tmp_path: Path) -> list[int]:
    """The numbers of the calls of a release that change something."""
    succeeded(deploy(cloud, tmp_path, "b", "--steps=100"))
    return [n for n, call in enumerate(cloud.calls) if not {*call} & {"describe", "auth"}]


def anew(cloud: Cloud, faults: dict[int, str]) -> None:
    """Before any release; what will fail in the next."""
    cloud.forget()
    cloud.world = World.applied(cloud.world.address)
    cloud.faults.update(faults)
