"""Watch a new revision while it serves learners: read its errors from Cloud Monitoring."""

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Callable

from exit_status import Failed, log
from gcloud import Cloud

MONITORING = "https://monitoring.googleapis.com"
DELAY_S = 240.0  # Monitoring shows requests so late
EVERY_S = 30.0
ERROR_RATE = 0.01
P95_MS = 500.0
ENOUGH = 100  # with fewer requests, a rate says little: one error passes, and latency is not judged
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


def watch(cloud: Cloud, revision: str, hold_s: float, check: Callable[[], None] | None) -> None:
    """Watch the revision's requests of the next `hold_s` seconds. Raise Failed over a limit.

    `check` sends a request to the revision. If Monitoring does not show these requests, the
    revision cannot be judged; raise Failed in this case too.
    """
    began = time.monotonic()
    while True:
        if check:
            check()
        elapsed = time.monotonic() - began
        requests, errors, p95_ms = _measure(cloud, revision, elapsed)
        found = f"{requests:.0f} requests, {errors:.0f} errors, p95 {p95_ms:.0f} ms"
        log(f"    {revision} after {elapsed:.0f} s: {found}")
        if errors > ERROR_RATE * max(requests, ENOUGH):
            raise Failed(f"{revision} showed more than {ERROR_RATE:.0%} errors: {found}")
        if requests >= ENOUGH and p95_ms > P95_MS:
            raise Failed(f"{revision} showed a p95 over {P95_MS:.0f} ms: {found}")
        if elapsed >= hold_s + DELAY_S:
            break
        time.sleep(EVERY_S)
    if check and not requests:
        raise Failed(f"Monitoring shows no requests to {revision}, though the release sent some")


def _measure(cloud: Cloud, revision: str, seconds: float) -> tuple[float, float, float]:
    """Return the numbers of requests and of errors, and the 95th percentile in milliseconds."""
    values = {"revision": revision, "seconds": max(_MIN_WINDOW_S, math.ceil(seconds))}
    token = cloud.fetch_token()
    results = {
        name: _query(cloud.project, query.format(**values), token)
        for name, query in QUERIES.items()
    }
    return results["requests"], max(results["failed"], results["errors"]), results["p95"]


def _query(project: str, query: str, token: str) -> float:
    """Return the value of the query, or 0 if it has none. Raise Failed if all tries fail."""
    request = urllib.request.Request(  # noqa: S310 - Google's address
        f"{MONITORING}/v1/projects/{project}/location/global/prometheus/api/v1/query",
        data=urllib.parse.urlencode({"query": query}).encode(),
        headers={"authorization": f"Bearer {token}"},
    )
    for tries_left in reversed(range(_TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - see above
                result = json.load(response)["data"]["result"]
            value = float(result[0]["value"][1]) if result else 0.0
            break
        except (OSError, ValueError, LookupError, TypeError) as error:
            if not tries_left:
                raise Failed(
                    f"Cloud Monitoring did not respond in {_TRIES} tries: {error}"
                ) from None
    return 0.0 if math.isnan(value) else value
