"""The monitoring of green during a release: limits, timing, and queries to Cloud Monitoring."""

import itertools
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import smoke
import watch
from bluegreen import PLANS
from watch import Limits

from tests.conftest import skip_without
from tests.support.fake_cloud import KEY
from tests.support.release_runs import ROOT, Numbers, Releases, deployment, make_measurements
from tests.support.release_world import SERVICES

BAD = {
    "failed": make_measurements(1_000, failed=11),
    "errors": make_measurements(1_000, errors=11),
    "p95": make_measurements(1_000, p95=501),
}
AT_LIMITS = make_measurements(1_000, p95=500, failed=10, errors=10)
STEPS = (5, 25, 50, 100)


def ill_from_step(cloud: Releases, percent: int, of: str, ill: Numbers) -> Numbers:
    """Return measurements that are good until green has `percent` % of the traffic.

    From then on, the measurements of the service `of` are `ill`.
    """

    def measure(query: str, revision: str) -> float | None:
        has_come = cloud.world.share("progress-query").get("b", 0) >= percent
        is_it = has_come and revision.startswith(of)
        return (ill if is_it else make_measurements())(query, revision)

    return measure


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("percent", STEPS)
@pytest.mark.parametrize("of", SERVICES)
def test_too_many_errors_or_high_latency_cause_an_immediate_rollback(
    cloud: Releases, of: str, percent: int, what: str
) -> None:
    cloud.monitoring = ill_from_step(cloud, percent, of, BAD[what])
    done = cloud.deploy("b")
    assert done.returncode == 1
    name = of.removeprefix("progress-")
    assert re.search(f"green's {name} showed (more than 1% errors|p95 over 500 ms)", done.stderr)
    expected = [*(step for step in STEPS if step <= percent), 0]
    assert (
        cloud.green_percents("progress-query")
        == cloud.green_percents("progress-ingest")
        == expected
    )
    cloud.assert_serves("a")


def test_a_release_continues_if_its_measurements_equal_the_limits(cloud: Releases) -> None:
    cloud.monitoring = AT_LIMITS
    assert cloud.deploy("b").returncode == 0
    cloud.assert_serves("b")


def test_green_is_judged_during_the_watch_if_there_are_enough_requests(cloud: Releases) -> None:
    cloud.monitoring = BAD["failed"]
    done = cloud.deploy("b", "--hold=10000")
    assert done.returncode == 1
    cloud.assert_serves("a")


def test_green_is_judged_only_at_the_end_of_the_watch_if_requests_are_few(cloud: Releases) -> None:
    """Errors among fewer than 100 requests do not fail the release before the watch ends."""
    looks: list[str] = []

    def measure(query: str, revision: str) -> float | None:
        looks.append(query)
        return make_measurements(99 if len(looks) < 80 else 1_000, failed=11)(query, revision)

    cloud.monitoring = measure
    done = cloud.deploy("b", "--steps=100", "--hold=10000", "--every=0.01")
    assert "more than 1% errors: 1000 requests" in done.stderr
    assert len(looks) >= 80
    cloud.monitoring = make_measurements(5, failed=1)
    assert "5 requests, 1 errors" in cloud.deploy("b").stderr
    cloud.assert_serves("a")


@dataclass
class Clock:
    """A clock that advances only in `sleep`."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_each_step_is_watched_for_ten_minutes_plus_the_delay_of_monitoring(
    cloud: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    cloud.run(*deployment(times=("--every=120",))).assert_success()
    assert clock.now == len(STEPS) * (600 + 240)
    seconds = [
        int(match[1]) for query in cloud.queries if (match := re.search(r"\[(\d+)s\]", query))
    ]
    looks = [60, *range(120, 841, 120)]
    assert [duration for duration, _ in itertools.groupby(seconds)] == looks * len(STEPS)
    assert cloud.ready_checks == 1 + len(looks) * len(STEPS)
    assert PLANS["prod"].limits == Limits(600, delay=240, every=30, error_rate=0.01, p95_ms=500)


def test_a_green_revision_that_stops_responding_fails_the_smoke_test(cloud: Releases) -> None:
    def measure(query: str, revision: str) -> float | None:
        cloud.ready = (503, {"status": "unavailable"})
        return make_measurements()(query, revision)

    cloud.monitoring = measure
    done = cloud.deploy("b", "--hold=10000")
    assert "green is not ready: /ready responded with 503" in done.stderr
    cloud.assert_serves("a")


def test_green_has_two_minutes_to_become_ready(cloud: Releases) -> None:
    cloud.unready = smoke.FIRST_TRIES - 1
    cloud.deploy(to="dev").assert_success()
    assert cloud.ready_checks == smoke.FIRST_TRIES
    assert smoke.FIRST_TRIES > 120 / 10


def test_a_green_revision_that_is_never_ready_gets_no_traffic(cloud: Releases) -> None:
    cloud.unready = smoke.FIRST_TRIES
    assert "green is not ready: /ready responded with 503" in cloud.deploy(to="dev").stderr
    cloud.assert_serves("a")
    assert not any("b" in world.share("progress-query") for world in cloud.worlds)


def test_a_release_continues_if_a_smoke_test_succeeds_when_retried(cloud: Releases) -> None:
    def measure(query: str, revision: str) -> float | None:
        # In the watch of the second step, the first two tries of the smoke test fail.
        cloud.unready = max(cloud.unready, 1 + smoke.WATCH_TRIES)
        return make_measurements()(query, revision)

    cloud.monitoring = measure
    cloud.deploy().assert_success()
    assert cloud.ready_checks > 1 + smoke.WATCH_TRIES


@pytest.mark.parametrize(
    "measurements", [lambda *_: None, make_measurements(0), make_measurements(p95=None)]
)
def test_a_watch_without_measurements_fails_the_release(
    cloud: Releases, measurements: Numbers
) -> None:
    """Requests and latency come from separate queries, and each query may return no value."""
    cloud.monitoring = measurements
    done = cloud.deploy("b")
    assert done.returncode == 1
    assert "Monitoring shows no requests to green's query" in done.stderr
    cloud.assert_serves("a")


def test_a_release_succeeds_if_ingest_has_no_requests(cloud: Releases) -> None:
    def measure(query: str, revision: str) -> float | None:
        return make_measurements()(query, revision) if "query" in revision else None

    cloud.monitoring = measure
    assert cloud.deploy("b").returncode == 0


def test_a_release_is_rolled_back_if_monitoring_does_not_respond(cloud: Releases) -> None:
    cloud.monitoring = lambda *_: float("nan")
    assert cloud.deploy("b").returncode == 1
    cloud.monitoring = None  # type: ignore[assignment]  # the fake fails
    assert (
        "Cloud Monitoring did not respond in 3 tries, so green cannot be judged"
        in cloud.deploy("b").stderr
    )
    cloud.assert_serves("a")


def test_failed_monitoring_queries_are_retried(cloud: Releases) -> None:
    """Each query is tried up to three times."""
    cloud.fails_query = lambda number: bool(number % 3)
    cloud.deploy("b", "--steps=100").assert_success()
    assert len(cloud.queries) == 3 * 3 * 4


@pytest.mark.parametrize(
    "answer",
    [
        {"ready": (503, {"status": "unavailable"})},
        {"ready": (404, {})},
        {"graphql": (200, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})},
        {"graphql": (500, {"errors": [{"extensions": {"code": "INTERNAL"}}]})},
        {"graphql": (200, {"data": {"__typename": "Query"}})},  # without a token
        {"graphql": (401, "no JSON object")},
    ],
)
def test_a_green_revision_with_wrong_responses_gets_no_traffic(
    cloud: Releases, answer: dict[str, tuple[int, object]]
) -> None:
    for name, value in answer.items():
        setattr(cloud, name, value)
    done = cloud.deploy("b")
    assert done.returncode == 1
    assert cloud.green_percents("progress-query") == []
    cloud.assert_serves("a")


def test_the_smoke_test_uses_the_load_balancer_if_an_address_is_given(cloud: Releases) -> None:
    address = f"--address={cloud.world.address}"
    cloud.deploy("b", address, key=KEY).assert_success()


def test_a_release_begins_only_if_the_load_balancer_is_reachable(cloud: Releases) -> None:
    done = cloud.deploy("b", "--address=http://127.0.0.1:9", key=KEY)
    assert (done.returncode, cloud.calls) == (1, [])
    assert "http://127.0.0.1:9 is unreachable, so nothing was released" in done.stderr
    assert "records to Terraform's output domain_records" in done.stderr


def test_the_serving_revision_is_not_mistaken_for_green(cloud: Releases) -> None:
    """The load balancer routes a request with a wrong key to the serving revision."""
    address = f"--address={cloud.world.address}"
    done = cloud.deploy("b", address, key="another")
    assert "routed to another revision: SMOKE_KEY differs from Terraform's smoke_key" in done.stderr
    cloud.assert_serves("a")
    cloud.reset_calls()
    done = cloud.deploy("b", address)
    assert (done.returncode, cloud.calls) == (2, [])
    assert "SMOKE_KEY is not set" in done.stderr


def test_monitoring_queries_use_existing_metrics_and_labels(cloud: Releases) -> None:
    assert cloud.deploy("b", "--steps=100").returncode == 0
    contract = json.loads((ROOT / "progress/adapters/telemetry/metric_fields.json").read_text())
    metric_fields = contract["metric_fields"]
    queried = {
        re.sub(r"_bucket$", "", m)
        for q in cloud.queries
        for m in re.findall(r"user_progress_(\w+)", q)
    }
    assert queried == {"outcome", "latency_ms"} <= metric_fields.keys()
    for question in cloud.queries:
        labels = set(re.findall(r"(\w+)=~?\"", question)) - {
            "monitored_resource", "revision_name", "response_code_class",
        }  # fmt: skip
        for metric in re.findall(r"user_progress_(\w+?)(?:_bucket)?\{", question):
            assert labels <= set(metric_fields[metric]["labels"])


def test_prometheus_accepts_the_monitoring_queries(
    cloud: Releases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    promtool = shutil.which("promtool") or skip_without(request, "promtool")
    assert cloud.deploy("b", "--steps=100").returncode == 0
    rules = [{"record": f"asked_{n}", "expr": query} for n, query in enumerate({*cloud.queries})]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "watch", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", file], check=True)
