"""Run the release script against the fake cloud, and check the result.

The script's `main` runs in the test process, and `gcloud.run` is a fake. A fault of a call is one
of the texts in `_FAULTS`; a killed script makes no further call.
"""

import contextlib
import io
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import exit_status
import gcloud
import pytest
import release
import smoke
import watch

from tests.support.fake_cloud import Cloud
from tests.support.release_world import JOBS, SERVICES, World, image

ROOT = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """A simulated SIGKILL, which stops the script immediately."""


_FAULTS = {"fail": exit_status.Failed, "interrupt": KeyboardInterrupt, "kill": Killed}
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


@dataclass
class Clock:
    """A clock that advances only in `sleep`."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Ended:
    """The script's exit code and output; the exit code of a killed script is -9."""

    returncode: int
    stdout: str
    stderr: str

    def assert_success(self) -> None:
        assert (self.returncode, self.stderr) == (0, ""), self.stdout[-3_000:] + self.stderr


@dataclass
class Releases(Cloud):
    """The fakes, and the release script that runs against them.

    The watch measures at its beginning and at its end. `faults` maps the index of a call in `calls`
    to its fault, which comes instead of the effect, or after it if the fault ends with ", too
    late". A copy of the world is kept after each call.
    """

    clock: Clock = field(default_factory=Clock)
    every_s: float = 1_000.0  # between two measurements
    faults: dict[int, str] = field(default_factory=dict)
    worlds: list[World] = field(default_factory=list)

    def run(self, command: str, *more: str, to: str = "prod", key: str = "") -> Ended:
        """Run the release script, by default for production."""
        output, errors = io.StringIO(), io.StringIO()
        words = [command, "--environment", to, "--project=p", *more]
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(sys, "argv", ["release.py", *words])
            patch.delenv("SMOKE_TOKEN", raising=False)
            patch.setenv("SMOKE_KEY", key)
            patch.setattr(gcloud, "run", self._run_gcloud)
            patch.setattr(watch, "MONITORING", self.world.address)
            patch.setattr(watch, "EVERY_S", self.every_s)
            patch.setattr(watch, "time", self.clock)
            patch.setattr(smoke, "_RETRY_DELAY_S", 0)
            stack.enter_context(contextlib.redirect_stdout(output))
            stack.enter_context(contextlib.redirect_stderr(errors))
            try:
                code = release.main()
            except SystemExit as ended:  # raised by argparse
                code = int(ended.code or 0)
            except Killed:
                code = -9
        return Ended(code, output.getvalue(), errors.getvalue())

    def deploy(self, code: str = "b", *more: str, to: str = "prod", key: str = "") -> Ended:
        """Release the version `code`."""
        return self.run("deploy", f"--image={image(code)}", *more, to=to, key=key)

    def _run_gcloud(self, words: list[str] | tuple[str, ...], seconds: float) -> str:
        # A job may run for three hours.
        assert seconds == (10_900 if "execute" in words else 300)
        if -1 in self.faults:
            raise Killed
        fault, _, is_late = self.faults.get(len(self.calls), "").partition(", ")
        code, output = (1, "fault") if fault and not is_late else self.answer([*words])
        if fault and not is_late:
            self.calls.append([*words])
        self.worlds.append(self.world.copy())
        if fault == "kill":
            self.faults[-1] = fault
        if fault or code:
            raise _FAULTS[fault or "fail"](f"`{shlex.join(['gcloud', *words])}` failed: {output}")
        return output

    def find_violations(self) -> list[str]:
        """Return what was wrong after a call, with this call."""
        return [
            f"{what} after {shlex.join(call)}"
            for call, world in zip(self.calls, self.worlds, strict=True)
            for what in world.find_violations()
        ]

    def serving_code(self) -> str:
        """Return the version that serves, runs all jobs and has the views of analysts.

        Assert that no release is unfinished.
        """
        (code,) = {code for name in SERVICES for code in self.world.share(name)}
        assert self.world.viewed == code
        assert self.world.jobs == dict.fromkeys(JOBS, image(code))
        assert not [name for name in SERVICES if self.world.find_tagged(name, "green")]
        return code

    def assert_serves(self, code: str, context: object = None) -> None:
        """Assert that the version `code` serves, and that nothing was wrong on the way."""
        violations = self.find_violations()
        assert not violations, (context, violations)
        assert self.serving_code() == code, context

    def green_percents(self, service: str) -> list[int]:
        """Return green's successive shares of the service's traffic, in percent."""
        percents: list[int] = []
        for world in self.worlds:
            share = world.share(service).get("b", 0)
            if share != (percents or [0])[-1]:
                percents.append(share)
        return percents

    def reset(self, faults: dict[int, str], world: World | None = None) -> None:
        """Set the faults and the world of the next run (default: after the first apply)."""
        self.calls.clear()
        self.worlds.clear()
        self.queries.clear()
        self.faults = faults
        self.world = world.copy() if world else World.after_first_apply(self.world.address)
