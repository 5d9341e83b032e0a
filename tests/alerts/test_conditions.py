"""Cases above and below each threshold of each alert, evaluated by a real Prometheus engine."""

from dataclasses import replace
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
    looked,
    once,
    spread,
)
from tests.support.terraform_environments import MIGRATION, Environments

_OWN = "logging_googleapis_com:user_progress_"
_REQUESTS = "run_googleapis_com:request_count"
_EXECUTIONS = "run_googleapis_com:job_completed_execution_count"
_HELD = "pubsub_googleapis_com:subscription_num_undelivered_messages"
_CHECKED = "monitoring_googleapis_com:uptime_check_check_passed"
_OLDEST = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"

_GRAPHQL = {**SERVICES, "operation": "query"}
_BATCH = {**JOBS, "operation": "batch"}


def _cache(hit: float, miss: float, error: float = 0, off: float = 0) -> Series:
    results = {"hit": hit, "miss": miss, "error": error, "off": off}
    return joined(
        *(
            growing(f"{_OWN}cache_result", {**SERVICES, "cache_result": result}, a_minute)
            for result, a_minute in results.items()
            if a_minute
        )
    )


def _outcome(operation: str, outcome: str) -> dict[str, str]:
    return {**SERVICES, "operation": operation, "outcome": outcome}


def _outcomes(operation: str, ok: float, error: float) -> Series:
    return joined(
        growing(f"{_OWN}outcome", _outcome(operation, "ok"), ok),
        growing(f"{_OWN}outcome", _outcome(operation, "error"), error),
    )


def _answers(good: float, bad: float) -> Series:
    labels = {**SERVICES, "service_name": "progress-query"}
    return joined(
        growing(_REQUESTS, {**labels, "response_code_class": "2xx"}, good),
        growing(_REQUESTS, {**labels, "response_code_class": "5xx"}, bad),
    )


def _delays(late: float, metric: str = "event_delay_ms") -> Series:
    bounds = {4000.0: 90 - late, 5000.0: 100 - late, 6000.0: 100.0}
    return spread(f"{_OWN}{metric}", SERVICES, bounds)


def _cold_starts(every: int, late: int = 1, punctual: int = 0) -> Series:
    """Return the delays of a system that starts cold every `every` minutes, then is idle.

    In its first minute, `late` wake-ups take over 5 s, and then `punctual` ones do not.
    """
    starts = [minute // every + 1 for minute in range(promtool.MINUTES)]
    metric = f"{_OWN}projection_delay_ms_bucket"
    below = {"5000.0": punctual, "6000.0": punctual + late, "+Inf": punctual + late}
    return joined(
        *(
            promtool.listed(metric, {**SERVICES, "le": le}, [n * count for n in starts])
            for le, count in below.items()
        )
    )


def _latencies(slow: float, labels: dict[str, str] = _GRAPHQL, of: float = 100) -> Series:
    return spread(f"{_OWN}latency_ms", labels, {400.0: of - slow, 500.0: of - slow, 600.0: of})


def _found(behind: float) -> Series:
    bounds = {750.0: 100 - behind, 1000.0: 100 - behind, 1500.0: 100.0}
    return spread(f"{_OWN}projection_lag", SERVICES, bounds)


def _held(waiting: float, subscription: str, metric: str = _HELD) -> Series:
    labels = {"monitored_resource": "pubsub_subscription", "subscription_id": subscription}
    return level(metric, labels, waiting)


def _waited(seconds: float, subscription: str) -> Series:
    return _held(seconds, subscription, _OLDEST)


def _one_error(of: float) -> Series:
    """Return series with one error in the last five minutes.

    `of` is the number of successes per minute.
    """
    return joined(
        growing(f"{_OWN}outcome", _outcome("query", "ok"), of),
        once(f"{_OWN}outcome", _outcome("query", "error")),
    )


def _runs(outcome: str) -> dict[str, str]:
    return {**_BATCH, "job_name": "progress-batch", "outcome": outcome}


_RUNNING = growing(f"{_OWN}outcome", _runs("ok"), 1)


def _executions(result: str, job: str = "progress-batch") -> Series:
    return once(_EXECUTIONS, {**JOBS, "job_name": job, "result": result})


def _last_run_ok(*, minutes: int) -> Series:
    return joined(_AGE, promtool.ended(f"{_OWN}outcome", _runs("ok"), minutes=minutes))


def _first_applied(*, minutes: int) -> Series:
    """Return series without batch runs, in which the release job first succeeded `minutes` ago."""
    labels = {**JOBS, "job_name": "progress-release", "result": "succeeded"}
    return promtool.begun(_EXECUTIONS, labels, minutes=minutes)


# A job execution before the window in which a run is missed.
_AGE = level(_EXECUTIONS, {**JOBS, "job_name": "progress-release", "result": "succeeded"}, 1)


_LIMIT = 500 * 2**30  # prod's disk limit

INGEST, PROJECT = "user-events-ingest-sub", "progress-projection-sub"
_LONG = 28 * 60  # minutes


def _dumped(hours: int) -> Series:
    """Return series of 28 hours with batch runs, in which the last dump was so many hours ago."""
    dump = {**JOBS, "job_name": "progress-backup", "result": "succeeded"}
    return joined(
        promtool.ended(f"{_OWN}outcome", _runs("ok"), minutes=0, of=_LONG),
        promtool.ended(_EXECUTIONS, {**dump, "job_name": "progress-batch"}, minutes=0, of=_LONG),
        promtool.ended(_EXECUTIONS, dump, minutes=60 * hours, of=_LONG),
    )


def _checks(*passed: int) -> Series:
    return joined(
        *(
            level(_CHECKED, {"checker_location": str(place)}, value)
            for place, value in enumerate(passed)
        )
    )


# Of each alert: when it fires, and when it does not. Each part of a condition has a case.
FIRING: dict[str, dict[str, Series]] = {
    "event-delay": {
        "6 of 100 recorded late": _delays(6),
        "6 of 100 folded late": _delays(6, "projection_delay_ms"),
        "each event is late, every 2 minutes": _cold_starts(2),
        "a message waits": _waited(660, INGEST),
    },
    "slow-queries": {"6 of 100 slow": _latencies(6)},
    "cache-hit-rate": {
        "69 hits of 100": _cache(69, 21, error=10),
        "no hit of 100": _cache(0, 100),
    },
    "errors": {
        "2 of 100": _outcomes("query", 98, 2),
        "2 of 100 of one operation, among many successes of another": joined(
            _outcomes("ingest", 98, 2), _outcomes("query", 10_000, 0)
        ),
        "1 of 2 per minute": _outcomes("query", 1, 1),
        "only errors": growing(f"{_OWN}outcome", _outcome("ingest", "error"), 1),
        "2 of 100 responses of Cloud Run": _answers(98, 2),
        "1 of 1 response of Cloud Run per minute": _answers(0, 1),
    },
    "projection-lag": {
        "1,001 events": looked(f"{_OWN}projection_lag", 1001),
        "an event for six minutes": looked(f"{_OWN}projection_lag_ms", 360_000),
        "51 of 100 wake-ups": _found(51),
        "a command for 16 minutes": _waited(960, PROJECT),
        "a command, while no operation runs": joined(
            _waited(960, PROJECT), looked(f"{_OWN}running_operations", 0)
        ),
    },
    "publication-lag": {"six minutes": looked(f"{_OWN}publication_lag_ms", 360_000)},
    "letter-bytes": {"60 %": looked(f"{_OWN}letter_share", 0.6)},
    "pending-events": {"25 hours": looked(f"{_OWN}pending_ms", 90_000_000)},
    "dead-letters": {
        "one": looked(f"{_OWN}dead_letters", 1),
        "one of Pub/Sub": _held(1, f"{PROJECT}-dead-letter-sub"),
    },
    "operations": {
        "one failed": looked(f"{_OWN}failed_operations", 1),
        "one is overdue": looked(f"{_OWN}overdue_operations", 1),
    },
    "batch-job": {
        "no run for 18 minutes": _last_run_ok(minutes=18),
        "no run since the first apply": _first_applied(minutes=18),
        "each run failed": joined(_AGE, growing(f"{_OWN}outcome", _runs("error"), 1)),
        "a constant count": joined(_AGE, level(f"{_OWN}outcome", _runs("ok"), 7)),
        "a batch run failed": joined(_RUNNING, _executions("failed")),
        "a backup failed": joined(_RUNNING, _executions("failed", "progress-backup")),
    },
    "database-limits": {
        "101 ms": looked(f"{_OWN}database_ms", 101),
        "81 % of the connections": looked(f"{_OWN}database_connections", 0.81),
        "81 % of the size": looked(f"{_OWN}database_bytes", _LIMIT * 0.81),
    },
    "availability-burn": {"3 of 100": _answers(97, 3)},
    "freshness-burn": {"3 of 100 late": _delays(3, "projection_delay_ms")},
    "uptime": {"from two regions": _checks(0, 0, 1)},
}
SILENT: dict[str, dict[str, Series]] = {
    "event-delay": {
        "4 of 100 recorded late": _delays(4),
        "4 of 100 folded late": _delays(4, "projection_delay_ms"),
        "no events": {},
        "a cold start every 7 minutes": _cold_starts(7),
        "a session begins with a cold start": _cold_starts(15, 10, 90),
        "a message waits for a minute": _waited(60, INGEST),
        "in another subscription": _waited(660, "user-events-analytics-sub"),
        "in a dead-letter subscription": _waited(660, f"{INGEST}-dead-letter-sub"),
    },
    "slow-queries": {
        "4 of 100 slow": _latencies(4),
        "all streams last long": _latencies(100, {**SERVICES, "operation": "stream"}),
        "3 of 3 per minute slow": _latencies(3, of=3),
        "slow, and requests fail": joined(_latencies(6), _outcomes("query", 98, 2)),
    },
    "cache-hit-rate": {
        "71 hits of 100": _cache(71, 29),
        "1 of 3, hardly any traffic": _cache(1, 2),
        "there is no cache": _cache(0, 0, off=100),
    },
    "errors": {
        "1 of 200": _outcomes("query", 199, 1),
        "a single error with little traffic": _one_error(0.4),
        "a single error of 50 requests": _one_error(10),
        "1 of 200 responses of Cloud Run": _answers(199, 1),
    },
    "projection-lag": {
        "999 events": looked(f"{_OWN}projection_lag", 999),
        "an event for four minutes": looked(f"{_OWN}projection_lag_ms", 240_000),
        "49 of 100 wake-ups": _found(49),
        "while an operation runs, such as an erasure that waits": joined(
            _waited(960, PROJECT), looked(f"{_OWN}running_operations", 1)
        ),
        "while a command runs": _waited(660, PROJECT),
        "another subscription": _waited(960, "progress-batch-sub"),
    },
    "publication-lag": {"four minutes": looked(f"{_OWN}publication_lag_ms", 240_000)},
    "letter-bytes": {"40 %": looked(f"{_OWN}letter_share", 0.4)},
    "pending-events": {"23 hours": looked(f"{_OWN}pending_ms", 82_800_000)},
    "dead-letters": {
        "none": looked(f"{_OWN}dead_letters", 0),
        "none of Pub/Sub": _held(0, f"{PROJECT}-dead-letter-sub"),
        "another system": _held(1, "of-another-system"),
    },
    "operations": {
        "none failed": looked(f"{_OWN}failed_operations", 0),
        "the last one was measured 15 minutes ago": looked(f"{_OWN}failed_operations", 1, until=25),
        "none is overdue": looked(f"{_OWN}overdue_operations", 0),
    },
    "batch-job": {
        "no run for 13 minutes": _last_run_ok(minutes=13),
        "the first apply was 13 minutes ago": _first_applied(minutes=13),
        "before the first apply": {},
        "a release failed": joined(_RUNNING, _executions("failed", "progress-release")),
        "none failed": joined(_RUNNING, _executions("succeeded")),
        "a job of another system": _executions("failed", "of-another-system"),
    },
    "database-limits": {
        "99 ms": looked(f"{_OWN}database_ms", 99),
        "79 % of the connections": looked(f"{_OWN}database_connections", 0.79),
        "79 % of the size": looked(f"{_OWN}database_bytes", _LIMIT * 0.79),
    },
    "availability-burn": {"1 of 100": _answers(99, 1), "no requests": {}},
    "freshness-burn": {"1 of 100 late": _delays(1, "projection_delay_ms"), "no events": {}},
    "uptime": {"from one region": _checks(1, 0, 1)},
}
CASES = [
    *(
        Case(alert, saying, is_told, series)
        for is_told, alerts_of in ((True, FIRING), (False, SILENT))
        for alert, cases in alerts_of.items()
        for saying, series in cases.items()
    ),
    Case("batch-job", "a dump 26 hours ago", True, _dumped(26), _LONG),
    Case("batch-job", "a dump 23 hours ago", False, _dumped(23), _LONG),
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


@pytest.mark.exhaustive
def test_an_inverted_case_contradicts_its_alert(
    evaluated: dict[str, Alert], tmp_path: Path
) -> None:
    """This shows that the preceding test can fail."""
    turned = [replace(case, is_told=not case.is_told) for case in CASES]
    assert promtool.wrong(evaluated.values(), turned, tmp_path).count("exp:") == len(CASES)
