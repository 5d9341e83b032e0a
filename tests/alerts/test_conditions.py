"""When each alert fires, and when it does not, evaluated by a real Prometheus engine."""

from collections.abc import Container
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support import promtool
from tests.support.alert_policies import Alert, alerts
from tests.support.promtool import (
    JOBS,
    SERVICES,
    Case,
    Series,
    growing,
    joined,
    level,
    listed,
    looked,
    once,
    spread,
)
from tests.support.terraform_environments import MIGRATION, Environments

_OWN = "logging_googleapis_com:user_progress_"
_REQUESTS = "run_googleapis_com:request_count"
_EXECUTIONS = "run_googleapis_com:job_completed_execution_count"
_HELD = "pubsub_googleapis_com:subscription_num_undelivered_messages"
_OLDEST = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
_GRAPHQL = {**SERVICES, "operation": "query"}


def _cache(hit: float, miss: float) -> Series:
    metric = f"{_OWN}cache_result"
    return joined(
        growing(metric, {**SERVICES, "cache_result": "hit"}, hit),
        growing(metric, {**SERVICES, "cache_result": "miss"}, miss),
    )


def _requests(ok: float, error: float) -> Series:
    """Return the requests a minute in Progress's log lines."""
    labels = {**SERVICES, "operation": "query"}
    return joined(
        growing(f"{_OWN}outcome", {**labels, "outcome": "ok"}, ok),
        growing(f"{_OWN}outcome", {**labels, "outcome": "error"}, error),
    )


def _responses(good: float, bad: float) -> Series:
    """Return the responses a minute that Cloud Run counts."""
    labels = {**SERVICES, "service_name": "progress-query"}
    return joined(
        growing(_REQUESTS, {**labels, "response_code_class": "2xx"}, good),
        growing(_REQUESTS, {**labels, "response_code_class": "5xx"}, bad),
    )


def _delays(late: float, metric: str = "event_delay_ms") -> Series:
    bounds = {4000.0: 90 - late, 5000.0: 100 - late, 6000.0: 100.0}
    return spread(f"{_OWN}{metric}", SERVICES, bounds)


def _cold_starts() -> Series:
    """Return the delays of a system whose only wake-up in seven minutes takes over 5 s."""
    starts = [minute // 7 + 1 for minute in range(promtool.MINUTES)]
    metric = f"{_OWN}projection_delay_ms_bucket"
    return joined(
        listed(metric, {**SERVICES, "le": "5000.0"}, [0 for _ in starts]),
        listed(metric, {**SERVICES, "le": "+Inf"}, starts),
    )


def _latencies(slow: float) -> Series:
    bounds = {400.0: 100 - slow, 500.0: 100 - slow, 600.0: 100.0}
    return spread(f"{_OWN}latency_ms", _GRAPHQL, bounds)


def _shares(most: float) -> Series:
    """Return the shares of a limit, of which none exceeds `most`."""
    bounds = {0.45: 90.0, 0.5: 100.0 if most <= 0.5 else 99.0, 0.55: 100.0}
    return spread(f"{_OWN}learner_share", SERVICES, bounds)


def _found(behind: float) -> Series:
    bounds = {750.0: 100 - behind, 1000.0: 100 - behind, 1500.0: 100.0}
    return spread(f"{_OWN}projection_lag", SERVICES, bounds)


def _waited(seconds: float, subscription: str, metric: str = _OLDEST) -> Series:
    labels = {"monitored_resource": "pubsub_subscription", "subscription_id": subscription}
    return level(metric, labels, seconds)


_RUNS = {**JOBS, "operation": "batch", "job_name": "progress-batch", "outcome": "ok"}


# A job execution before the window in which a run is missed.
_AGE = level(_EXECUTIONS, {**JOBS, "job_name": "progress-release", "result": "succeeded"}, 1)

_LIMIT = 500 * 2**30  # prod's disk limit

INGEST, PROJECT = "user-events-ingest-sub", "progress-projection-sub"
_LONG = 28 * 60  # minutes


def _dumped(hours: int) -> Series:
    """Return series of 28 hours with batch runs, in which the last dump was so many hours ago."""
    dump = {**JOBS, "job_name": "progress-backup", "result": "succeeded"}
    return joined(
        promtool.ended(f"{_OWN}outcome", _RUNS, minutes=0, of=_LONG),
        promtool.ended(_EXECUTIONS, {**dump, "job_name": "progress-batch"}, minutes=0, of=_LONG),
        promtool.ended(_EXECUTIONS, dump, minutes=60 * hours, of=_LONG),
    )


# Each part of a condition has a case in which the alert fires.
FIRING: dict[str, list[Series]] = {
    "event-delay": [
        _delays(6),
        _delays(6, "projection_delay_ms"),
        _waited(660, INGEST),
    ],
    "slow-queries": [_latencies(6)],
    "cache-hit-rate": [_cache(69, 31)],
    "errors": [_requests(98, 2), _responses(98, 2)],
    "projection-lag": [
        looked(f"{_OWN}projection_lag", 1001),
        looked(f"{_OWN}projection_lag_ms", 360_000),
        _found(51),
        _waited(960, PROJECT),
    ],
    "publication-lag": [looked(f"{_OWN}publication_lag_ms", 360_000)],
    "letter-bytes": [looked(f"{_OWN}letter_share", 0.6)],
    "learner-entries": [_shares(0.55)],
    "pending-events": [looked(f"{_OWN}pending_ms", 90_000_000)],
    "dead-letters": [
        looked(f"{_OWN}dead_letters", 1),
        _waited(1, f"{PROJECT}-dead-letter-sub", _HELD),
    ],
    "operations": [
        looked(f"{_OWN}failed_operations", 1),
        looked(f"{_OWN}overdue_operations", 1),
    ],
    "batch-job": [
        joined(_AGE, promtool.ended(f"{_OWN}outcome", _RUNS, minutes=18)),
        joined(
            growing(f"{_OWN}outcome", _RUNS, 1),
            once(_EXECUTIONS, {**JOBS, "job_name": "progress-batch", "result": "failed"}),
        ),
    ],
    "database-limits": [
        looked(f"{_OWN}database_ms", 101),
        looked(f"{_OWN}database_connections", 0.81),
        looked(f"{_OWN}database_bytes", _LIMIT * 0.81),
    ],
}
SILENT: dict[str, Series] = {
    "event-delay": _cold_starts(),
    "slow-queries": _latencies(4),
    "cache-hit-rate": _cache(71, 29),
    "errors": _requests(199, 1),
    "projection-lag": joined(_waited(960, PROJECT), looked(f"{_OWN}running_operations", 1)),
    "publication-lag": looked(f"{_OWN}publication_lag_ms", 240_000),
    "letter-bytes": looked(f"{_OWN}letter_share", 0.4),
    "learner-entries": _shares(0.5),
    "pending-events": looked(f"{_OWN}pending_ms", 82_800_000),
    "dead-letters": looked(f"{_OWN}dead_letters", 0),
    "operations": looked(f"{_OWN}failed_operations", 0),
    "batch-job": {},  # before the first apply
    "database-limits": looked(f"{_OWN}database_ms", 99),
}
CASES = [
    *(Case(alert, True, case) for alert, cases in FIRING.items() for case in cases),
    *(Case(alert, False, case) for alert, case in SILENT.items()),
    Case("batch-job", True, _dumped(26), _LONG),
    Case("batch-job", False, _dumped(23), _LONG),
]


@pytest.fixture
def evaluated(request: pytest.FixtureRequest, environments: Environments) -> dict[str, Alert]:
    """The alerts of prod, and the one that is off there, by name."""
    if promtool.PROGRAM is None:
        skip_without(request, "promtool")
    moving = environments.variant("moving", "dev", *MIGRATION)  # has all alerts
    return {**alerts(moving.applied), **alerts(environments["prod"].applied)}


def test_each_alert_has_a_case_that_fires_and_a_case_that_does_not(
    evaluated: dict[str, Alert],
) -> None:
    assert FIRING.keys() == SILENT.keys() == evaluated.keys()


def test_alerts_fire_in_exactly_the_cases_that_expect_it(
    evaluated: dict[str, Alert], tmp_path: Path
) -> None:
    assert promtool.wrong(evaluated.values(), CASES, tmp_path) == ""


def _outage(minutes: int, delivery: int) -> Series:
    """Return the series of an outage, whose events Pub/Sub delivers in the minutes after it."""
    down = range(20, 20 + minutes)
    late = range(down.stop, down.stop + delivery)

    def count(counted: Container[int]) -> list[int]:
        return [12 * sum(past in counted for past in range(m)) for m in range(promtool.MINUTES)]

    every = range(promtool.MINUTES)
    up = [minute for minute in every if minute not in down]
    labels = {**SERVICES, "operation": "query", "service_name": "progress-query"}
    punctual = [minute for minute in up if minute not in late]
    return joined(
        listed(f"{_OWN}outcome", {**labels, "outcome": "ok"}, count(up)),
        listed(f"{_OWN}outcome", {**labels, "outcome": "error"}, count(down)),
        listed(_REQUESTS, {**labels, "response_code_class": "2xx"}, count(up)),
        listed(_REQUESTS, {**labels, "response_code_class": "5xx"}, count(down)),
        *(
            listed(f"{_OWN}{metric}_bucket", {**SERVICES, "le": le}, count(counted))
            for metric in ("event_delay_ms", "projection_delay_ms")
            for le, counted in (("5000.0", punctual), ("300000.0", up), ("+Inf", up))
        ),
    )


@pytest.mark.parametrize(("minutes", "delivery", "told"), [(1, 2, []), (5, 4, ["errors"])])
def test_an_outage_of_a_minute_sends_nothing_and_one_of_five_minutes_one_notification(
    evaluated: dict[str, Alert], minutes: int, delivery: int, told: list[str], tmp_path: Path
) -> None:
    series = _outage(minutes, delivery)
    assert promtool.fired(evaluated.values(), series, told, tmp_path) == ""
