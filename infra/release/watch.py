"""Green under learners' requests: its errors and its slowness, as Monitoring has seen them."""

import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from outcome import Failed, say

MONITORING = "https://monitoring.googleapis.com"
_TRIES = 3
_SECONDS = 20.0
_SHORTEST = 60  # what is counted comes once a minute

# What is asked of a revision, over the seconds since its step began. Errors are counted twice: by
# the platform, which knows of instances that died, and by our own lines, since GraphQL tells an
# error under status 200. How long streams stay open is not how slow answers are, so that our own
# latencies are asked for.
_OF = 'monitored_resource="cloud_run_revision",revision_name="{revision}"'
QUESTIONS = {
    "requests": "sum(increase(run_googleapis_com:request_count{{" + _OF + "}}[{seconds}s]))",
    "failed": "sum(increase(run_googleapis_com:request_count{{"
    + _OF
    + ',response_code_class="5xx"}}[{seconds}s]))',
    "errors": "sum(increase(logging_googleapis_com:user_progress_outcome{{"
    + _OF
    + ',outcome="error"}}[{seconds}s]))',
    "p95": "histogram_quantile(0.95, sum by (le) (increase("
    "logging_googleapis_com:user_progress_latency_ms_bucket{{"
    + _OF
    + ',operation=~"ingest|query|mutation"}}[{seconds}s])))',
}


@dataclass(frozen=True)
class Limits:
    """What green may show, and how long it is looked at, in seconds.

    `hold` of requests are judged, and what Monitoring shows of them is `delay` late. From `enough`
    requests on one look suffices to go back; fewer are judged when the time is over.
    """

    hold: float
    delay: float = 240.0
    every: float = 30.0
    error_rate: float = 0.01
    p95_ms: float = 500.0
    enough: int = 100


@dataclass(frozen=True)
class Seen:
    """A revision's requests since the step began; `p95_ms` is None where there were none."""

    requests: float
    errors: float
    p95_ms: float | None

    def __str__(self) -> str:
        slow = "no latency" if self.p95_ms is None else f"p95 {self.p95_ms:.0f} ms"
        return f"{self.requests:.0f} requests, {self.errors:.0f} errors, {slow}"

    def too_much(self, limits: Limits) -> str | None:
        """What is over a limit."""
        if self.errors > limits.error_rate * max(self.requests, self.errors):
            return f"more than {limits.error_rate:.0%} errors"
        if self.p95_ms is not None and self.p95_ms > limits.p95_ms:
            return f"p95 over {limits.p95_ms:.0f} ms"
        return None


class Monitoring:
    """A project's metrics, by PromQL."""

    def __init__(self, project: str, token: Callable[[], str]):
        root = os.environ.get("RELEASE_MONITORING_URL", MONITORING)
        self._url = f"{root}/v1/projects/{project}/location/global/prometheus/api/v1/query"
        self._token = token

    def seen(self, revision: str, seconds: float) -> Seen:
        """What came in these last seconds. Failed where Monitoring does not tell."""
        values = {
            "revision": revision,
            "seconds": max(_SHORTEST, math.ceil(seconds)),
        }
        token = self._token()
        found = {name: self._ask(q.format(**values), token) for name, q in QUESTIONS.items()}
        errors = max(found["failed"] or 0.0, found["errors"] or 0.0)
        return Seen(found["requests"] or 0.0, errors, found["p95"])

    def _ask(self, question: str, token: str) -> float | None:
        for left in reversed(range(_TRIES)):
            try:
                return self._asked(question, token)
            except (OSError, ValueError, LookupError, TypeError) as fault:
                if not left:
                    raise Failed(
                        f"Cloud Monitoring does not tell how green does: {fault}"
                    ) from None
        return None

    def _asked(self, question: str, token: str) -> float | None:
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            self._url,
            data=urllib.parse.urlencode({"query": question}).encode(),
            headers={"authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - see above
            result = json.load(answer)["data"]["result"]
        value = float(result[0]["value"][1]) if result else math.nan
        return None if math.isnan(value) else value


def watch(
    monitoring: Monitoring, revisions: Mapping[str, str], check: Callable[[], None], limits: Limits
) -> None:
    """Look at green until its time is over. Failed as soon as it shows too much, or nothing at all.

    `revisions` by what they are called; the first is the one that `check` asks meanwhile, so that
    silence about it is Monitoring's and not the learners'.
    """
    began = time.monotonic()
    while True:
        check()
        passed = time.monotonic() - began
        is_over = passed >= limits.hold + limits.delay
        for number, (name, revision) in enumerate(revisions.items()):
            seen = monitoring.seen(revision, passed)
            say(f"    {name} after {passed:.0f} s: {seen}")
            _judge(name, seen, limits, is_over=is_over, must_be_seen=not number)
        if is_over:
            return
        time.sleep(limits.every)


def _judge(name: str, seen: Seen, limits: Limits, *, is_over: bool, must_be_seen: bool) -> None:
    too_much = seen.too_much(limits)
    if too_much and (is_over or seen.requests >= limits.enough):
        raise Failed(f"green's {name} showed {too_much}: {seen}")
    if is_over and must_be_seen and (not seen.requests or seen.p95_ms is None):
        raise Failed(f"nothing was seen of green's {name}, though it was asked: the watch is blind")
