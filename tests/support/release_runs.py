"""Releases in a test: the script among the fakes, and what became of the world.

`run` calls the script's `main` here, and each `gcloud` is a call of the fake's; `start` starts it
as a program, which starts `gcloud` as programs: for what is a matter of processes.
"""

import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import exit_status
import gcloud
import pytest
import release
import rollback
import smoke

from tests.support import fake_cloud
from tests.support.fake_cloud import SIGNALS, Cloud
from tests.support.release_world import GREEN_SUBSCRIPTION, JOBS, SERVICES, World, image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "infra/release/release.py"
NOW = ("--hold=0", "--delay=0", "--every=0")
WHERE = ("--project=p", "--region=europe-west1", "--timeout=100")

Numbers = Callable[[str, str], float | None]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Blue has code `a`; all is well."""
    with fake_cloud.running(tmp_path) as made:
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


@dataclass(frozen=True)
class Ended:
    """How the script ended, in `subprocess`' words."""

    returncode: int
    stdout: str
    stderr: str


class Killed(BaseException):
    """Nothing more is done."""


def start(cloud: Cloud, tmp_path: Path, command: str, *more: str) -> Ended:
    """The script as a program, among the fakes."""
    done = subprocess.run(
        [sys.executable, SCRIPT, command, *WHERE, *more], capture_output=True, text=True,
        timeout=100, check=False,
        env=environment(cloud, tmp_path),
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def run(cloud: Cloud, command: str, *more: str, key: str | None = None) -> Ended:
    """The script, among the fakes."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", [str(SCRIPT), command, *WHERE, *more])
        patch.setenv("RELEASE_MONITORING_URL", cloud.world.address)
        patch.delenv("SMOKE_TOKEN", raising=False)
        if key is None:
            patch.delenv("SMOKE_KEY", raising=False)
        else:
            patch.setenv("SMOKE_KEY", key)
        patch.setattr(gcloud, "run", _called(cloud))
        patch.setattr(rollback, "_RETRY_DELAY_S", 0)
        patch.setattr(smoke, "_RETRY_DELAY_S", 0)
        for each in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, each, signal.getsignal(each))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        try:
            code = release.main()
        except SystemExit as ended:  # argparse's
            code = int(ended.code or 0)
        except Killed:
            code = -signal.SIGKILL
    return Ended(code, output.getvalue(), errors.getvalue())


def _called(cloud: Cloud) -> Callable[[list[str] | tuple[str, ...], float], str]:
    """What stands for `gcloud.run`: after SIGKILL nothing is done any more."""
    killed = False

    def befall(fault: str) -> None:
        nonlocal killed
        killed = SIGNALS.get(fault) == signal.SIGKILL
        if not killed and fault in SIGNALS:
            signal.raise_signal(SIGNALS[fault])

    def called(words: list[str] | tuple[str, ...], seconds: float) -> str:
        assert seconds == (10_900 if "execute" in words else 100)  # a job takes its time
        code, told = cloud.answer([*words], befall) if not killed else (0, "")
        if killed:
            raise Killed
        if code:
            raise exit_status.Failed(f"`{shlex.join(['gcloud', *words])}` failed ({code}): {told}")
        return told

    return called


def deployment(
    code: str = "b", *more: str, to: str = "prod", times: tuple[str, ...] = NOW
) -> tuple[str, ...]:
    """The command that releases this code, with a watch that takes no time."""
    images = [f"--image={name.removeprefix('progress-')}={image(name, code)}" for name in SERVICES]
    return ("deploy", "--environment", to, *images, *(times if to != "dev" else ()), *more)


def deploy(
    cloud: Cloud, code: str = "b", *more: str, to: str = "prod", key: str | None = None
) -> Ended:
    """A release of this code."""
    return run(cloud, *deployment(code, *more, to=to), key=key)


def served(world: World) -> str:
    """The code that has all traffic, of which alone the jobs run, and nothing is left to do."""
    (code,) = {code for name in SERVICES for code in world.share(name)}
    assert world.jobs == dict.fromkeys(JOBS, image("progress-project", code))
    assert GREEN_SUBSCRIPTION not in world.subscriptions
    assert "green" not in [each.get("tag") for name in SERVICES for each in world.asked[name]]
    return code


def succeeded(done: Ended) -> None:
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


def changing(cloud: Cloud) -> list[int]:
    """The numbers of the calls of a release that change something."""
    succeeded(deploy(cloud, "b", "--steps=100"))
    return [n for n, call in enumerate(cloud.calls) if not {*call} & {"describe", "auth"}]


def anew(cloud: Cloud, faults: dict[int, str]) -> None:
    """Before any release; what will fail in the next."""
    cloud.forget()
    cloud.world = World.applied(cloud.world.address)
    cloud.faults.update(faults)
