"""The notifications of a maintenance of Cloud SQL, during which the database does not respond.

The lines are those of a real stack whose PostgreSQL was killed. They are laid on a timeline of an
hour, with Pub/Sub's redeliveries and the attempts of the batch job.
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from progress.local import development_key, postgres, readiness
from tests.conftest import skip_without
from tests.support import emitted_lines, fault_stack, http_client, promtool, sample_events
from tests.support.alert_policies import alerts
from tests.support.fault_stack import Stack
from tests.support.log_filters import parsed
from tests.support.metric_series import Line, Metric, stored
from tests.support.promtool import Series, joined, listed
from tests.support.pushes import encode_push
from tests.support.terraform_environments import Environments

pytestmark = [
    pytest.mark.timeout(300),  # a local stack starts slowly on a busy machine
    pytest.mark.exhaustive,
]

MINUTES = 60
BEGIN_S = 1205  # of the maintenance, in seconds
_STEP_S = 5  # from one event, and one query, to the next
_CONNECTING_S = 120  # how long an attempt of the batch job waits for the database
_RETRIES = 3
_QUESTION = "{ streak { current } }"

Lines = dict[str, list[Line]]  # by operation


def _group(lines: list[Line]) -> Lines:
    grouped: Lines = {}
    for line in lines:
        grouped.setdefault(str(line.get("operation", "query")), []).append(line)
    return grouped


def _run_job(stack: Stack, attempt: int) -> list[Line]:
    """Run an attempt of the batch job, as Cloud Run does; return its lines."""
    attempts = {"TASK_RETRIES": str(_RETRIES), "CLOUD_RUN_TASK_ATTEMPT": str(attempt)}
    with stack.start_job(stdout=subprocess.PIPE, **attempts) as job:
        assert job.stdout
        return [json.loads(line) for line in job.stdout]


def _ask(stack: Stack, user: str) -> int:
    token = development_key.token(stack.folder.key, user, ["learner"])
    body = json.dumps({"query": _QUESTION}).encode()
    headers = http_client.headers(token)
    status, _ = http_client.fetch(stack.port, "POST", "/graphql", headers=headers, body=body)
    return status


@dataclass(frozen=True)
class Recorded:
    """The lines of each operation while the database responds, and while it does not."""

    usual: Lines
    failing: Lines
    last_attempt: list[Line]


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    with fault_stack.run_stack() as stack:
        logs = emitted_lines.RunningStack(stack.folder.path)
        stack.publish(sample_events.lesson("ann", 0))
        stack.await_delivery()
        stack.await_projection()
        readiness.wait(
            lambda: (
                _ask(stack, "ann") == 200
                and any(line.get("cache_result") == "hit" for line in logs.emitted().lines)
            ),
            "a cached response",
        )
        usual = _group([*logs.emitted().lines, *_run_job(stack, 0)])
        usual["query"] = [line for line in usual["query"] if line.get("cache_result") == "hit"]
        usual = {name: lines[:1] for name, lines in usual.items()}
        before = logs.emitted().lines
        with stack.pause_supervisor():
            stack.signal("postgres", signal.SIGKILL)
            postgres.kill_leftovers(stack.folder.postgres)
            wake = encode_push({"command": "wake", "shard": 0})
            assert stack.post("project", wake) == 503
            assert stack.post("ingest", encode_push(sample_events.lesson("ann", 1))) == 503
            assert _ask(stack, "ben") == 503  # not in the cache
            failing: Lines = {}

            def has_logged() -> bool:
                failing.update(_group([new for new in logs.emitted().lines if new not in before]))
                return {"ingest", "wake", "query"} <= failing.keys()

            readiness.wait(has_logged, "the lines of the requests")
            for pushed in ("ingest", "wake"):  # each push writes one line
                failing[pushed] = [line for line in failing[pushed] if line["outcome"] != "ok"][:1]
            failing["batch"] = _run_job(stack, 0)
            yield Recorded(usual, failing, _run_job(stack, _RETRIES))


@dataclass
class Timeline:
    """The lines, the responses and the messages of an hour with a maintenance."""

    recorded: Recorded
    seconds: int  # of the maintenance
    lines: list[tuple[int, Line]] = field(default_factory=list)
    responses: list[tuple[int, str, int]] = field(default_factory=list)
    waits: list[tuple[int, int]] = field(default_factory=list)  # of each message, from when to when
    executions: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for second in range(0, 60 * MINUTES, _STEP_S):
            recorded = self._push(second, second, "ingest", "event_delay_ms")
            self._push(recorded, second, "wake", "projection_delay_ms")
            self._request(second, "query")
        for second in range(60, 60 * MINUTES, 300):
            self._run_job(second)

    def _is_down(self, second: int) -> bool:
        return BEGIN_S <= second < BEGIN_S + self.seconds

    def _write(self, second: int, lines: list[Line], **changed: object) -> None:
        for line in lines:
            self.lines.append(
                (second // 60, line | {k: v for k, v in changed.items() if k in line})
            )

    def _request(self, second: int, operation: str, **changed: object) -> bool:
        """Add the lines and the response of a request; return whether it succeeded."""
        is_down = self._is_down(second)
        lines = self.recorded.failing if is_down else self.recorded.usual
        self._write(second, lines[operation], **changed)
        self.responses.append((second // 60, operation, 503 if is_down else 200))
        return not is_down

    def _push(self, second: int, published: int, operation: str, delay: str) -> int:
        """Deliver a message until it succeeds, with Pub/Sub's backoff; return when it did."""
        began, backoff = second, 10
        while not self._request(second, operation, **{delay: 1_000 * (second - published) + 80}):
            second, backoff = second + backoff, min(2 * backoff, 600)
        if operation == "ingest":
            self.waits.append((began, second))
        return second

    def _run_job(self, second: int) -> None:
        """Run the batch job, whose attempts wait for the database."""
        for attempt in range(_RETRIES + 1):
            deadline = second + _CONNECTING_S
            second = next((s for s in range(second, deadline) if not self._is_down(s)), deadline)
            if second < deadline:
                self._write(second, self.recorded.usual["batch"])
                self.executions.append((second // 60, "succeeded"))
                return
            is_last = attempt == _RETRIES
            lines = self.recorded.last_attempt if is_last else self.recorded.failing["batch"]
            self._write(second, lines)
        self.executions.append((second // 60, "failed"))

    def platform(self) -> Series:
        """Return the series that Google Cloud counts."""
        service = {"ingest": "ingest", "wake": "project", "query": "query"}
        requests = {
            (name, status): listed(
                "run_googleapis_com:request_count",
                {
                    **promtool.SERVICES,
                    "service_name": f"progress-{service[name]}",
                    "response_code_class": f"{status // 100}xx",
                },
                _totals([m for m, *what in self.responses if what == [name, status]]),
            )
            for name in service
            for status in (200, 503)
        }
        executions = [
            listed(
                "run_googleapis_com:job_completed_execution_count",
                {**promtool.JOBS, "job_name": "progress-batch", "result": result},
                _totals([m for m, ended in self.executions if ended == result]),
            )
            for result in ("succeeded", "failed")
        ]
        ages = [
            max((60 * m - began for began, end in self.waits if began <= 60 * m < end), default=0)
            for m in range(MINUTES)
        ]
        oldest = listed(
            "pubsub_googleapis_com:subscription_oldest_unacked_message_age",
            {
                "monitored_resource": "pubsub_subscription",
                "subscription_id": "learning-events-ingest-sub",
            },
            ages,
        )
        return joined(*requests.values(), *executions, oldest)

    def entries(self) -> Iterator[dict[str, object]]:
        """Yield what Cloud Logging stores: the lines, and Cloud Run's lines of requests."""
        for _, line in self.lines:
            yield stored(line)
        resource = {"labels": {"service_name": "progress-query"}}
        for _, _, status in self.responses:
            severity = "ERROR" if status >= 500 else "INFO"
            yield {"resource": resource, "severity": severity, "httpRequest": {"status": status}}


def _totals(minutes: list[int]) -> list[int]:
    return [sum(minute <= m for minute in minutes) for m in range(MINUTES)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("outage", [(55, []), (300, ["errors"])], ids=["a minute", "five minutes"])
def test_a_maintenance_sends_nothing_within_a_minute_and_one_notification_within_five(
    request: pytest.FixtureRequest,
    environments: Environments,
    recorded: Recorded,
    outage: tuple[int, list[str]],
    tmp_path: Path,
) -> None:
    if promtool.PROGRAM is None:
        skip_without(request, "promtool")
    planned, applied = environments["prod"].planned, environments["prod"].applied
    seconds, expected = outage
    timeline = Timeline(recorded, seconds)
    metrics = planned.of("google_logging_metric")
    own = [Metric(name, metric).series(timeline.lines, MINUTES) for name, metric in metrics.items()]
    # Five minutes are a third of a percent of the day of which the alerts on budgets are.
    of_an_hour = [alert for alert in alerts(applied).values() if alert.is_promql]
    series = joined(*own, timeline.platform())
    assert promtool.fired(of_an_hour, series, expected, tmp_path) == ""
    policy = planned.of("google_monitoring_alert_policy")["error-logs"]
    matches = parsed(policy["conditions"][0]["condition_matched_log"][0]["filter"])
    assert [entry for entry in timeline.entries() if matches(entry)] == []


def test_the_last_attempt_of_a_job_is_an_error(recorded: Recorded) -> None:
    (line,) = recorded.last_attempt
    assert (line["severity"], line["outcome"]) == ("ERROR", "error")
    (earlier,) = recorded.failing["batch"]
    assert (earlier["severity"], earlier["outcome"]) == ("WARNING", "retried")
