"""Cases above and below each alert's threshold, evaluated by a real Prometheus engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support import promtool
from tests.support.alert_policies import Condition, alerts
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


def _executions(result: str, job: str = "progress-batch") -> Series:
    return once(_EXECUTIONS, {**JOBS, "job_name": job, "result": result})


def _last_run_ok(*, minutes: int) -> Series:
    return joined(_AGE, promtool.ended(f"{_OWN}outcome", _runs("ok"), minutes=minutes))


def _first_applied(*, minutes: int) -> Series:
    """Return series without batch runs, in which the release job first succeeded `minutes` ago."""
    labels = {**JOBS, "job_name": "progress-release", "result": "succeeded"}
    return promtool.begun(_EXECUTIONS, labels, minutes=minutes)


# A job execution before the window of the condition `_LATE`. Without an execution before this
# window, `_LATE` does not hold.
_AGE = level(_EXECUTIONS, {**JOBS, "job_name": "progress-release", "result": "succeeded"}, 1)


_DELAY = "event delay, p95 > 5 s"
_PROJECTED = "projection delay, p95 > 5 s"
_WAITS = "a message waits for ingest for more than 10 minutes"
_SLOW = "GraphQL, p95 > 500 ms"
_COLD = "cache errors > 30 %"
_HITS = "cache hit rate < 70 %"
_ERRORS = "errors > 1 %"
_BEHIND = "more than 1000 events behind"
_OLD = "oldest unfolded event > 305 s"
_UNPUBLISHED = "oldest unpublished > 305 s"
_WAKES = "events waiting at a wake-up, median > 1000"
_UNTAKEN = "a command waits for a worker for more than 15 minutes"
_LETTERS = "dead letters neither replayed nor discarded"
_LETTER_BYTES = "share of the bytes > 0.5"
_PENDING = "oldest pending event > 1 day"
_GIVEN_UP = "messages in Pub/Sub's dead-letter subscriptions"
_FAILED_OPERATION = "an operation failed or timed out"
_OVERDUE_OPERATION = "an operation is unfinished for too long"
_LATE = "no successful batch run for 15 minutes"
_EXECUTION = "a job execution failed (Cloud Run)"
_ROUND_TRIP = "round trip to the database > 100 ms"
_CONNECTIONS = "connections > 80 %"
_SIZE = "size > 80 %"

_LIMIT = 500 * 2**30  # prod's disk limit

CASES = [
    Case(_DELAY, "6 of 100 late", True, _delays(6)),
    Case(_DELAY, "4 of 100 late", False, _delays(4)),
    Case(_DELAY, "no events", False),
    Case(_PROJECTED, "6 of 100 late", True, _delays(6, "projection_delay_ms")),
    Case(_PROJECTED, "4 of 100 late", False, _delays(4, "projection_delay_ms")),
    Case(_PROJECTED, "no events", False),
    Case(_PROJECTED, "a cold start every 7 minutes", False, _cold_starts(7)),
    Case(_PROJECTED, "a session begins with a cold start", False, _cold_starts(15, 10, 90)),
    Case(_PROJECTED, "each event is late, every 2 minutes", True, _cold_starts(2)),
    Case(_WAITS, "for 11 minutes", True, _waited(660, "user-events-ingest-sub")),
    Case(_WAITS, "for 9 minutes", False, _waited(540, "user-events-ingest-sub")),
    Case(_WAITS, "in another subscription", False, _waited(660, "user-events-analytics-sub")),
    Case(
        _WAITS,
        "in a dead-letter subscription",
        False,
        _waited(660, "user-events-ingest-sub-dead-letter-sub"),
    ),
    Case(_SLOW, "6 of 100 slow", True, _latencies(6)),
    Case(_SLOW, "4 of 100 slow", False, _latencies(4)),
    Case(
        _SLOW, "all streams last long", False, _latencies(100, {**SERVICES, "operation": "stream"})
    ),
    Case(_SLOW, "3 of 3 per minute slow", False, _latencies(3, of=3)),
    Case(_SLOW, "slow, and requests fail", False, joined(_latencies(6), _outcomes("query", 98, 2))),
    Case(_COLD, "31 errors of 100", True, _cache(0, 69, error=31)),
    Case(_COLD, "29 errors of 100", False, _cache(0, 71, error=29)),
    Case(_COLD, "learners who study with an open page", False, _cache(10, 90)),
    Case(_COLD, "there is no cache", False, _cache(0, 0, off=100)),
    Case(_COLD, "2 errors, hardly any traffic", False, _cache(0, 0, error=2)),
    Case(_HITS, "69 hits of 100", True, _cache(69, 21, error=10)),
    Case(_HITS, "no hit of 100", True, _cache(0, 100)),
    Case(_HITS, "71 hits of 100", False, _cache(71, 29)),
    Case(_HITS, "1 of 3, hardly any traffic", False, _cache(1, 2)),
    Case(_HITS, "there is no cache", False, _cache(0, 0, off=100)),
    Case(_ERRORS, "2 of 100", True, _outcomes("query", 98, 2)),
    Case(_ERRORS, "1 of 200", False, _outcomes("query", 199, 1)),
    Case(
        _ERRORS,
        "2 of 100 of one operation, among many successes of another operation",
        True,
        joined(_outcomes("ingest", 98, 2), _outcomes("query", 10_000, 0)),
    ),
    Case(_ERRORS, "1 of 2 per minute", True, _outcomes("query", 1, 1)),
    Case(_ERRORS, "a single error with little traffic", False, _one_error(0.4)),
    Case(_ERRORS, "a single error of 50 requests", False, _one_error(10)),
    Case(_ERRORS, "only errors", True, growing(f"{_OWN}outcome", _outcome("ingest", "error"), 1)),
    Case(_ERRORS, "2 of 100 responses of Cloud Run", True, _answers(98, 2)),
    Case(_ERRORS, "1 of 200 responses of Cloud Run", False, _answers(199, 1)),
    Case(_ERRORS, "1 of 1 response of Cloud Run per minute", True, _answers(0, 1)),
    Case(_BEHIND, "1,001", True, looked(f"{_OWN}projection_lag", 1001)),
    Case(_BEHIND, "999", False, looked(f"{_OWN}projection_lag", 999)),
    Case(_OLD, "six minutes", True, looked(f"{_OWN}projection_lag_ms", 360_000)),
    Case(_OLD, "four minutes", False, looked(f"{_OWN}projection_lag_ms", 240_000)),
    Case(_UNPUBLISHED, "six minutes", True, looked(f"{_OWN}publication_lag_ms", 360_000)),
    Case(_UNPUBLISHED, "four minutes", False, looked(f"{_OWN}publication_lag_ms", 240_000)),
    Case(_LETTER_BYTES, "60 %", True, looked(f"{_OWN}letter_share", 0.6)),
    Case(_LETTER_BYTES, "40 %", False, looked(f"{_OWN}letter_share", 0.4)),
    Case(_PENDING, "25 hours", True, looked(f"{_OWN}pending_ms", 90_000_000)),
    Case(_PENDING, "23 hours", False, looked(f"{_OWN}pending_ms", 82_800_000)),
    Case(_WAKES, "51 of 100", True, _found(51)),
    Case(_WAKES, "49 of 100", False, _found(49)),
    Case(_UNTAKEN, "for 16 minutes", True, _waited(960, "progress-projection-sub")),
    Case(
        _UNTAKEN,
        "while an operation runs, such as an erasure that waits",
        False,
        joined(_waited(960, "progress-projection-sub"), looked(f"{_OWN}running_operations", 1)),
    ),
    Case(
        _UNTAKEN,
        "while no operation runs",
        True,
        joined(_waited(960, "progress-projection-sub"), looked(f"{_OWN}running_operations", 0)),
    ),
    Case(_UNTAKEN, "while a command runs", False, _waited(660, "progress-projection-sub")),
    Case(_UNTAKEN, "another subscription", False, _waited(960, "progress-batch-sub")),
    Case(_LETTERS, "one", True, looked(f"{_OWN}dead_letters", 1)),
    Case(_LETTERS, "none", False, looked(f"{_OWN}dead_letters", 0)),
    Case(_GIVEN_UP, "one", True, _held(1, "progress-projection-sub-dead-letter-sub")),
    Case(_GIVEN_UP, "none", False, _held(0, "progress-projection-sub-dead-letter-sub")),
    Case(_GIVEN_UP, "another system", False, _held(1, "of-another-system")),
    Case(_FAILED_OPERATION, "one", True, looked(f"{_OWN}failed_operations", 1)),
    Case(_FAILED_OPERATION, "none", False, looked(f"{_OWN}failed_operations", 0)),
    Case(
        _FAILED_OPERATION,
        "the last one was measured 15 minutes ago",
        False,
        looked(f"{_OWN}failed_operations", 1, until=25),
    ),
    Case(_OVERDUE_OPERATION, "one", True, looked(f"{_OWN}overdue_operations", 1)),
    Case(_OVERDUE_OPERATION, "none", False, looked(f"{_OWN}overdue_operations", 0)),
    Case(_LATE, "for 18 minutes", True, _last_run_ok(minutes=18)),
    Case(_LATE, "for 13 minutes", False, _last_run_ok(minutes=13)),
    Case(_LATE, "none since the first apply", True, _first_applied(minutes=18)),
    Case(_LATE, "the first apply was 13 minutes ago", False, _first_applied(minutes=13)),
    Case(_LATE, "before the first apply", False),
    Case(
        _LATE, "each run failed", True, joined(_AGE, growing(f"{_OWN}outcome", _runs("error"), 1))
    ),
    Case(_LATE, "a constant count", True, joined(_AGE, level(f"{_OWN}outcome", _runs("ok"), 7))),
    Case(_EXECUTION, "a batch run", True, _executions("failed")),
    Case(_EXECUTION, "a backup", True, _executions("failed", "progress-backup")),
    Case(_EXECUTION, "a release", False, _executions("failed", "progress-release")),
    Case(_EXECUTION, "none", False, _executions("succeeded")),
    Case(_EXECUTION, "another system", False, _executions("failed", "of-another-system")),
    Case(_ROUND_TRIP, "101 ms", True, looked(f"{_OWN}database_ms", 101)),
    Case(_ROUND_TRIP, "99 ms", False, looked(f"{_OWN}database_ms", 99)),
    Case(_CONNECTIONS, "81 %", True, looked(f"{_OWN}database_connections", 0.81)),
    Case(_CONNECTIONS, "79 %", False, looked(f"{_OWN}database_connections", 0.79)),
    Case(_SIZE, "81 %", True, looked(f"{_OWN}database_bytes", _LIMIT * 0.81)),
    Case(_SIZE, "79 %", False, looked(f"{_OWN}database_bytes", _LIMIT * 0.79)),
]


@pytest.fixture
def conditions(request: pytest.FixtureRequest, environments: Environments) -> dict[str, Condition]:
    """The alert conditions of prod, and of an alert that is off there, keyed by name."""
    if promtool.PROGRAM is None:
        skip_without(request, "promtool")
    by_name = alerts(environments["prod"].planned)
    moving = environments.variant("moving", "dev", *MIGRATION)  # has all alerts
    by_name["cache-hit-rate"] = alerts(moving.applied)["cache-hit-rate"]
    return {
        condition.name: condition for alert in by_name.values() for condition in alert.conditions
    }


def test_each_condition_has_a_case_that_fires_and_a_case_that_does_not(
    conditions: dict[str, Condition],
) -> None:
    for is_told in (True, False):
        assert {case.condition for case in CASES if case.is_told is is_told} == conditions.keys()


def test_conditions_fire_in_exactly_the_cases_that_expect_an_alert(
    conditions: dict[str, Condition], tmp_path: Path
) -> None:
    assert promtool.wrong(conditions.values(), CASES, tmp_path) == ""


@pytest.mark.exhaustive
def test_an_inverted_case_contradicts_its_condition(
    conditions: dict[str, Condition], tmp_path: Path
) -> None:
    """This shows that the preceding test can fail."""
    turned = [replace(case, is_told=not case.is_told) for case in CASES]
    assert promtool.wrong(conditions.values(), turned, tmp_path).count("exp:") == len(CASES)
