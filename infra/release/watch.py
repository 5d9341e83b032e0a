"""Watch green while it serves learners: read error rate and latency from Cloud Monitoring."""

import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exit_status import Failed, log

MONITORING = "https://monitoring.googleapis.com"
_TRIES = 3
_TIMEOUT_S = 20.0
_MIN_WINDOW_S = 60  # Monitoring writes one point a minute

# PromQL for one revision, over the seconds since the watch began. Errors have two sources. Cloud
# Run counts the requests that failed because an instance crashed. The log lines of Progress count
# GraphQL errors, which have status 200. The latency comes from these log lines too, because Cloud
# Run's latency of a stream is the stream's whole duration.
_REVISION = 'monitored_resource="cloud_run_revision",revision_name="{revision}"'
QUERIES = {
    "requests": "sum(increase(run_googleapis_com:request_count{{" + _REVISION + "}}[{seconds}s]))",
    "failed": "sum(increase(run_googleapis_com:request_count{{"
    + _REVISION
    + ',response_code_class="5xx"}}[{seconds}s]))',
    "errors": "sum(increase(logging_googleapis_com:user_progress_outcome{{"
    + _REVISION
    + ',outcome="error"}}[{seconds}s]))',
    "p95": "histogram_quantile(0.95, sum by (le) (increase("
    "logging_googleapis_com:user_progress_latency_ms_bucket{{"
    + _REVISION
    + ',operation=~"ingest|query|mutation"}}[{seconds}s])))',
}


@dataclass(frozen=True)
class Limits:
    """The limits for green, and the times of the watch in seconds.

    The watch judges the requests that arrive in its first `hold` seconds. It lasts `delay` seconds
    longer, because Monitoring shows requests late. Once a function has had `enough` requests, a
    single measurement over a limit fails the release. A function with fewer than `enough` requests
    is judged only at the end of the watch.
    """

    hold: float
    delay: float = 240.0
    every: float = 30.0
    error_rate: float = 0.01
    p95_ms: float = 500.0
    enough: int = 100


@dataclass(frozen=True)
class Measurement:
    """A revision's requests since the watch began; `p95_ms` is None if no latency was measured."""

    requests: float
    errors: float
    p95_ms: float | None

    def __str__(self) -> str:
        latency = "no latency" if self.p95_ms is None else f"p95 {self.p95_ms:.0f} ms"
        return f"{self.requests:.0f} requests, {self.errors:.0f} errors, {latency}"

    def find_violation(self, limits: Limits) -> str | None:
        """Return a text that names the exceeded limit, or None."""
        if self.errors > limits.error_rate * max(self.requests, self.errors):
            return f"more than {limits.error_rate:.0%} errors"
        if self.p95_ms is not None and self.p95_ms > limits.p95_ms:
            return f"p95 over {limits.p95_ms:.0f} ms"
        return None


class Monitoring:
    """PromQL queries to a project's metrics."""

    def __init__(self, project: str, fetch_token: Callable[[], str]):
        root = os.environ.get("RELEASE_MONITORING_URL", MONITORING)
        self._url = f"{root}/v1/projects/{project}/location/global/prometheus/api/v1/query"
        self._fetch_token = fetch_token

    def measure(self, revision: str, seconds: float) -> Measurement:
        """Measure the revision over the last `seconds`. Raise Failed if Monitoring fails."""
        values = {
            "revision": revision,
            "seconds": max(_MIN_WINDOW_S, math.ceil(seconds)),
        }
        token = self._fetch_token()
        results = {name: self._query(q.format(**values), token) for name, q in QUERIES.items()}
        errors = max(results["failed"] or 0.0, results["errors"] or 0.0)
        return Measurement(results["requests"] or 0.0, errors, results["p95"])

    def _query(self, query: str, token: str) -> float | None:
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._query_once(query, token)
            except (OSError, ValueError, LookupError, TypeError) as error:
                if not tries_left:
                    raise Failed(
                        f"Cloud Monitoring did not respond in {_TRIES} tries, so green cannot be "
                        f"judged: {error}"
                    ) from None
        return None

    def _query_once(self, query: str, token: str) -> float | None:
        request = urllib.request.Request(  # noqa: S310 - the operator sets the address
            self._url,
            data=urllib.parse.urlencode({"query": query}).encode(),
            headers={"authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - see above
            result = json.load(response)["data"]["result"]
        value = float(result[0]["value"][1]) if result else math.nan
        return None if math.isnan(value) else value


def watch(
    monitoring: Monitoring, revisions: Mapping[str, str], check: Callable[[], None], limits: Limits
) -> None:
    """Watch green for the time in `limits`. Raise Failed if green exceeds a limit.

    `revisions` is keyed by function. `check` sends requests to the first function. If Monitoring
    does not show these requests, green cannot be judged; raise Failed in this case too.
    """
    began = time.monotonic()
    while True:
        check()
        elapsed = time.monotonic() - began
        is_over = elapsed >= limits.hold + limits.delay
        for number, (name, revision) in enumerate(revisions.items()):
            measurement = monitoring.measure(revision, elapsed)
            log(f"    {name} after {elapsed:.0f} s: {measurement}")
            _judge(name, measurement, limits, is_over=is_over, needs_requests=not number)
        if is_over:
            return
        time.sleep(limits.every)


def _judge(
    name: str, measurement: Measurement, limits: Limits, *, is_over: bool, needs_requests: bool
) -> None:
    violation = measurement.find_violation(limits)
    if violation and (is_over or measurement.requests >= limits.enough):
        raise Failed(f"green's {name} showed {violation}: {measurement}")
    if is_over and needs_requests and (not measurement.requests or measurement.p95_ms is None):
        raise Failed(
            f"Monitoring shows no requests to green's {name}, though the release sent some: "
            "green cannot be judged"
        )
