"""Run the release script against the fake cloud, and check the result.

`run` calls the script's `main` in the test process, and replaces `gcloud.run` with a fake. `start`
runs the script in its own process, for tests of processes and signals; there, the script calls a
fake program `gcloud`.
"""

import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import exit_status
import gcloud
import pytest
import release
import rollback
import smoke

from tests.support.fake_cloud import SIGNALS, Cloud
from tests.support.release_world import GREEN_SUBSCRIPTION, JOBS, SERVICES, World, image

ROOT = Path(__file__).resolve().parents[2]
NOW = ("--hold=0", "--delay=0", "--every=0")
WHERE = ("--environment=prod", "--project=p", "--timeout=100")

Numbers = Callable[[str, str], float | None]


def make_measurements(requests: float = 1_000, p95: float | None = 80, **more: float) -> Numbers:
    """Return fake measurements.

    `more` may contain two numbers: `failed` (5xx responses) and `errors` (failed operations).
    """

    def measure(query: str, revision: str) -> float | None:
        if "histogram_quantile" in query:
            return p95
        if "progress_outcome" in query:
            return more.get("errors")
        return more.get("failed") if "5xx" in query else requests

    return measure


@dataclass(frozen=True)
class Ended:
    """The script's exit code and output, as in `subprocess`."""

    returncode: int
    stdout: str
    stderr: str

    def assert_success(self) -> None:
        assert (self.returncode, self.stderr) == (0, ""), self.stdout[-3_000:] + self.stderr


class Killed(BaseException):
    """A simulated SIGKILL, which stops the script immediately."""


def deployment(
    code: str = "b", *more: str, to: str = "prod", times: tuple[str, ...] = NOW
) -> tuple[str, ...]:
    """Return the arguments that release the version `code`, by default without waiting times."""
    images = [f"--image={name.removeprefix('progress-')}={image(name, code)}" for name in SERVICES]
    return ("deploy", "--environment", to, *images, *(times if to != "dev" else ()), *more)


class Releases(Cloud):
    """The fakes, and the release script that runs against them."""

    def start(self, command: str, *more: str) -> Ended:
        """Run the release script in its own process against the fakes."""
        return self._start("release.py", command, *WHERE, *more)

    def build(self, script: str = "build.py") -> Ended:
        """Run `script`, which builds a commit's images, in its own process against the fakes."""
        return self._start(
            script, "--project=progress-dev", "--region=europe-west1", "--commit=abc123"
        )

    def _start(self, script: str, *arguments: str) -> Ended:
        environment = {  # the fake `gcloud` is first on PATH
            "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
            "FAKE_GCLOUD_PORT": str(self.port),
            "RELEASE_MONITORING_URL": self.world.address,
        }
        done = subprocess.run(
            [sys.executable, ROOT / "infra/release" / script, *arguments],
            capture_output=True, text=True, timeout=100, check=False, env=environment,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def run(self, command: str, *more: str, key: str | None = None) -> Ended:
        """Run the release script in the test process against the fakes."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(sys, "argv", ["release.py", command, *WHERE, *more])
            patch.setenv("RELEASE_MONITORING_URL", self.world.address)
            for name in ("SMOKE_TOKEN", "SMOKE_KEY"):
                patch.delenv(name, raising=False)
            if key:
                patch.setenv("SMOKE_KEY", key)
            patch.setattr(gcloud, "run", self._fake_run())
            patch.setattr(rollback, "_RETRY_DELAY_S", 0)
            patch.setattr(smoke, "_RETRY_DELAY_S", 0)
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.getsignal(number))
            stack.enter_context(contextlib.redirect_stdout(output))
            stack.enter_context(contextlib.redirect_stderr(errors))
            try:
                code = release.main()
            except SystemExit as ended:  # raised by argparse
                code = int(ended.code or 0)
            except Killed:
                code = -signal.SIGKILL
        return Ended(code, output.getvalue(), errors.getvalue())

    def deploy(
        self, code: str = "b", *more: str, to: str = "prod", key: str | None = None
    ) -> Ended:
        """Release the version `code`."""
        return self.run(*deployment(code, *more, to=to), key=key)

    def _fake_run(self) -> Callable[[list[str] | tuple[str, ...], float], str]:
        """Return a fake of `gcloud.run`; after a simulated SIGKILL, its calls only raise Killed."""
        killed = False

        def inject(fault: str) -> None:
            nonlocal killed
            killed = SIGNALS.get(fault) == signal.SIGKILL
            if not killed and fault in SIGNALS:
                signal.raise_signal(SIGNALS[fault])

        def called(words: list[str] | tuple[str, ...], seconds: float) -> str:
            # A job may run for three hours.
            assert seconds == (10_900 if "execute" in words else 100)
            code, output = self.answer([*words], inject) if not killed else (0, "")
            if killed:
                raise Killed
            if code:
                raise exit_status.Failed(
                    f"`{shlex.join(['gcloud', *words])}` failed ({code}): {output}"
                )
            return output

        return called

    def serving_code(self) -> str:
        """Return the version that serves, runs all jobs and has the views of analysts.

        Assert that no release is unfinished.
        """
        (code,) = {code for name in SERVICES for code in self.world.share(name)}
        assert self.world.viewed == code
        assert self.world.jobs == dict.fromkeys(JOBS, image("progress-project", code))
        assert GREEN_SUBSCRIPTION not in self.world.subscriptions
        assert "green" not in [
            target.get("tag") for name in SERVICES for target in self.world.requested[name]
        ]
        return code

    def assert_serves(self, code: str, context: object = None) -> None:
        """Assert that the version `code` serves, and that no rule was violated on the way."""
        assert not self.find_violations(), context
        assert self.serving_code() == code, context

    def green_percents(self, service: str) -> list[int]:
        """Return green's successive shares of the service's traffic, in percent."""
        percents: list[int] = []
        for world in self.worlds:
            share = world.share(service).get("b", 0)
            if share != (percents or [0])[-1]:
                percents.append(share)
        return percents

    def is_past_no_return(self) -> bool:
        """Return whether the release is past the point of no return.

        It is, if a call has routed wake-ups to `b` and the first such call had no fault.
        """
        switched = [
            n for n, world in enumerate(self.worlds) if "b" in world.share("progress-project")
        ]
        return bool(switched) and switched[0] not in self.faults

    def list_changing_calls(self) -> list[int]:
        """Make a release; return the numbers of its gcloud calls that change the world."""
        self.deploy("b", "--steps=100").assert_success()
        return [n for n, call in enumerate(self.calls) if not {*call} & {"describe", "auth"}]

    def find_full_traffic_call(self) -> int:
        """Make a release; return the number of the call that gives green's query all traffic."""
        calls = self.list_changing_calls()
        return next(n for n in calls if "progress-query-00002=100" in self.calls[n][-1])

    def reset(self, faults: dict[int, str], world: World | None = None) -> None:
        """Set the faults and the world of the next release (default: `after_first_apply`)."""
        self.reset_calls()
        self.world = world.copy() if world else World.after_first_apply(self.world.address)
        self.faults.update(faults)

    def assert_one_version_serves(self, done: Ended, *, is_new: bool) -> None:
        """Assert that the release succeeded and `b` serves.

        If `is_new` is false, assert that the release failed and `a` serves.
        """
        context = f"with faults {self.faults}: {done.stdout[-2_000:]}"
        assert done.returncode == (0 if is_new else 1), context
        assert not self.find_violations(), context
        assert self.serving_code() == ("b" if is_new else "a"), context
