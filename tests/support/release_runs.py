"""Run the release script against a fake cloud, and check the result.

The fakes are `gcloud`, Cloud Monitoring, and the query function of the new revisions (green).

The script's `main` runs in the test process, and `gcloud.run` is a fake. A fault of a call is one
of the texts in `_FAULTS`; a killed script makes no further call.
"""

import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import exit_status
import gcloud
import pytest
import release
import smoke
import watch

from tests.support import http_servers
from tests.support.release_world import JOBS, SERVICES, CallRejected, World, image

ROOT = Path(__file__).resolve().parents[2]
KEY = "of-the-load-balancer"  # the load balancer routes a request with this key to green


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
class Releases:
    """The fakes, and the release script that runs against them.

    The watch measures at its beginning and at its end. `faults` maps the index of a call in `calls`
    to its fault, which comes instead of the effect, or after it if the fault ends with ", too
    late". A copy of the world is kept after each call.
    """

    world: World
    calls: list[list[str]] = field(default_factory=list)
    monitoring: Callable[[str, str], float | None] = lambda *_: None  # Arguments: query, revision.
    fails_query: Callable[[int], bool] = lambda _: False  # Argument: the number of the query.
    queries: list[str] = field(default_factory=list)
    ready_checks: int = 0  # requests for /ready so far
    ready: tuple[int, object] = (200, {"status": "ok"})
    unready: int = 0  # the number of requests for /ready that fail before the first success
    graphql: tuple[int, object] = (401, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})
    clock: Clock = field(default_factory=Clock)
    every_s: float = 1_000.0  # between two measurements
    faults: dict[int, str] = field(default_factory=dict)
    worlds: list[World] = field(default_factory=list)

    def run(self, command: str, *more: str, to: str = "prod", key: str = "") -> Ended:
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
        return self.run("deploy", f"--image={image(code)}", *more, to=to, key=key)

    def _run_gcloud(self, words: list[str] | tuple[str, ...], seconds: float) -> str:
        # A job may run for three hours.
        assert seconds == (10_900 if {"execute", "submit"} & {*words} else 300)
        if -1 in self.faults:
            raise Killed
        fault, _, is_late = self.faults.get(len(self.calls), "").partition(", ")
        self.calls.append([*words])
        code, output = (1, "fault") if fault and not is_late else self._answer([*words])
        self.worlds.append(self.world.copy())
        if fault == "kill":
            self.faults[-1] = fault
        if fault or code:
            raise _FAULTS[fault or "fail"](f"`{shlex.join(['gcloud', *words])}` failed: {output}")
        return output

    def _answer(self, words: list[str]) -> tuple[int, str]:
        try:
            return 0, self.world.do(words)
        except (CallRejected, LookupError) as refused:
            return 1, f"ERROR: {refused}"

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


@contextlib.contextmanager
def _serve(cloud: Releases) -> Iterator[str]:
    """Run HTTP fakes of Google's APIs, of the load balancer and of green's query function."""

    class Web(http_servers.Handler):
        def do_GET(self) -> None:
            if not self.path.endswith("/ready"):
                return self._answer(404, {})
            cloud.ready_checks += 1
            if cloud.ready_checks <= cloud.unready:
                return self._answer(503, {"status": "unavailable"})
            return self._answer(*cloud.ready)

        def do_POST(self) -> None:
            body = self.read_body().decode()
            if not self.path.startswith("/v1/projects/p/location/global/prometheus/api/v1/query"):
                return self._answer(*cloud.graphql)
            assert self.headers["authorization"] == "Bearer token"
            (query,) = parse_qs(body)["query"]
            cloud.queries.append(query)
            if cloud.fails_query(len(cloud.queries)):
                return self._answer(503, {})
            value = cloud.monitoring(query, re.findall(r'revision_name="([^"]+)"', query)[0])
            result = [] if value is None else [{"metric": {}, "value": [1.5, str(value)]}]
            data = {"resultType": "vector", "result": result}
            return self._answer(200, {"status": "success", "data": data})

        def _answer(self, status: int, body: object) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            is_routed = self.headers["x-progress-revision"] == KEY
            more: dict[str, Any] = {"x-progress-revision": "green"} if is_routed else {}
            self.respond(status, content, **more)

    with http_servers.serve(Web) as address:
        yield address


@pytest.fixture
def cloud() -> Iterator[Releases]:
    """A cloud where blue serves version `a` and Monitoring shows no errors."""
    made = Releases(World(), monitoring=make_measurements())
    with _serve(made) as address:
        made.world = World.after_first_apply(address)
        yield made
