"""The monitoring of green during a release: limits, timing, and queries to Cloud Monitoring."""

import itertools
import json
import re
from pathlib import Path

import pytest
import smoke

from tests.support import promtool
from tests.support.release_runs import KEY, ROOT, Releases, make_measurements
from tests.support.release_world import SERVICES

BAD = {
    "failed": make_measurements(1_000, failed=11),
    "errors": make_measurements(1_000, errors=11),
    "p95": make_measurements(1_000, p95=501),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("of", SERVICES)
def test_too_many_errors_or_high_latency_cause_an_immediate_rollback(
    cloud: Releases, of: str, what: str
) -> None:
    cloud.monitoring = lambda query, revision: (
        BAD[what] if revision.startswith(of) else make_measurements()
    )(query, revision)
    done = cloud.deploy()
    assert done.returncode == 1
    assert re.search(f"{of}-00002 showed (more than 1% errors|a p95 over 500 ms)", done.stderr)
    assert cloud.green_percents(of) == [10, 0]
    cloud.assert_serves("a")


def test_a_release_continues_if_its_measurements_equal_the_limits(cloud: Releases) -> None:
    cloud.monitoring = make_measurements(1_000, p95=500, failed=10, errors=10)
    cloud.deploy().assert_success()


def test_few_requests_are_judged_by_the_number_of_errors(cloud: Releases) -> None:
    cloud.monitoring = make_measurements(5, p95=501, failed=1)
    cloud.deploy().assert_success()
    cloud.reset({})
    cloud.monitoring = make_measurements(5, failed=2)
    assert "more than 1% errors: 5 requests, 2 errors" in cloud.deploy().stderr
    cloud.assert_serves("a")


@pytest.mark.parametrize(("to", "hold_s"), [("dev", None), ("staging", 120), ("prod", 600)])
def test_each_service_is_watched_for_its_time_plus_the_delay_of_monitoring(
    cloud: Releases, to: str, hold_s: int | None
) -> None:
    cloud.every_s = 120
    cloud.deploy(to=to).assert_success()
    cloud.assert_serves("b")
    seconds = [int(found) for query in cloud.queries for found in re.findall(r"\[(\d+)s\]", query)]
    looks = [60, *range(120, hold_s + 241, 120)] if hold_s else []
    assert [duration for duration, _ in itertools.groupby(seconds)] == looks * len(SERVICES)
    assert cloud.ready_checks == 1 + len(looks)


def test_a_green_revision_that_stops_responding_fails_the_release(cloud: Releases) -> None:
    def measure(query: str, revision: str) -> float | None:
        cloud.ready = (503, {"status": "unavailable"})
        return make_measurements()(query, revision)

    cloud.monitoring = measure
    assert "green is not ready: /ready responded with 503" in cloud.deploy().stderr
    cloud.assert_serves("a")


def test_green_has_two_minutes_to_become_ready(cloud: Releases) -> None:
    cloud.unready = smoke.FIRST_TRIES - 1
    cloud.deploy(to="dev").assert_success()
    assert cloud.ready_checks == smoke.FIRST_TRIES > 120 / 10


def test_a_watch_without_measurements_fails_the_release(cloud: Releases) -> None:
    cloud.monitoring = lambda *_: None
    done = cloud.deploy()
    assert "Monitoring shows no requests to progress-query-00002" in done.stderr
    cloud.assert_serves("a")


def test_a_release_is_rolled_back_if_monitoring_does_not_respond(cloud: Releases) -> None:
    cloud.monitoring = None  # type: ignore[assignment]  # the fake fails
    assert "Cloud Monitoring did not respond in 3 tries" in cloud.deploy().stderr
    cloud.assert_serves("a")


def test_failed_monitoring_queries_are_retried(cloud: Releases) -> None:
    cloud.fails_query = lambda number: bool(number % 3)
    cloud.deploy().assert_success()


@pytest.mark.parametrize(
    "answer",
    [
        {"ready": (503, {"status": "unavailable"})},
        {"ready": (404, {})},
        {"graphql": (200, {"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]})},
        {"graphql": (401, {"errors": [{"extensions": {"code": "INTERNAL"}}]})},
        {"graphql": (200, {"data": {"__typename": "Query"}})},  # without a token
        {"graphql": (401, "no JSON object")},
        {"graphql": (401, b"no JSON")},
    ],
)
def test_a_green_revision_with_wrong_responses_gets_no_traffic(
    cloud: Releases, answer: dict[str, tuple[int, object]]
) -> None:
    for name, value in answer.items():
        setattr(cloud, name, value)
    assert cloud.deploy().returncode == 1
    assert [cloud.green_percents(name) for name in SERVICES] == [[]] * 3
    cloud.assert_serves("a")


def test_the_smoke_test_uses_the_load_balancer_if_an_address_is_given(cloud: Releases) -> None:
    """The load balancer routes a request with a wrong key to the serving revision."""
    address = f"--address={cloud.world.address}"
    cloud.deploy("b", address, key=KEY).assert_success()
    done = cloud.deploy("c", address, key="another")
    assert "routed to another revision: SMOKE_KEY differs from Terraform's smoke_key" in done.stderr
    cloud.assert_serves("b")
    done = cloud.deploy("c", "--address=http://127.0.0.1:9", key=KEY)
    assert "A domain needs its DNS records and a certificate" in done.stderr
    cloud.assert_serves("b")
    cloud.reset({})
    done = cloud.deploy("b", address)
    assert (done.returncode, cloud.calls) == (2, [])
    assert "SMOKE_KEY is not set" in done.stderr


def test_monitoring_queries_use_existing_metrics_and_labels(cloud: Releases) -> None:
    cloud.deploy().assert_success()
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
    cloud.deploy().assert_success()
    promtool.check_queries(request, {*cloud.queries}, tmp_path)
