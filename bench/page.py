"""Benchmark of the page's first two requests, sent at a steady rate for learners with a history."""

import functools
import itertools
import re
from collections.abc import Iterator
from datetime import timedelta

from bench import function_client, functions, logs, machine_speed, request_batch
from bench.lines import Line
from bench.machine_speed import TimedRequest
from bench.request_batch import RequestBatch
from bench.server import Server
from progress.files import ROOT

_LEARNERS = 4  # each has 20,000 items and 200 days of study
_DAYS, _ANSWERS, _FRESH, _ITEMS = 200, 110, 100, 21_000
_A_SECOND, _SECONDS = 5, 30
_LIMIT = 60.0  # milliseconds
_WHAT = f"the page's first request, 20,000 items and {_DAYS} days, {_A_SECOND} a second"
_NEWS = f"its request for the news, {_A_SECOND} a second"
_PACKED = b"gzip"  # in each successful response; an error is too short to be compressed
_COUNTED = b'"data":{"knowledge":{'  # in each response to the request for the news

_SCRIPT = ROOT / "progress" / "query" / "page" / "query.js"
_CONSTANT = re.compile(r"^(?:export )?const (\w+) = (['`])(.*?)\2;", re.MULTILINE | re.DOTALL)
_INSERTED = re.compile(r"\$\{(\w+)\}")


def measure_page(server: Server) -> Iterator[Line]:
    """Measure cache misses and hits, from the time when a request was due until its response.

    The bar limits the latency, not the throughput. In practice, four learners send fewer requests
    than this benchmark, which sends five a second. At this rate, a request seldom waits for
    another request.
    """
    store = server.create_store()
    learners = logs.fill_studies(
        store, learners=_LEARNERS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH, items=_ITEMS
    )
    browser = "Accept-Encoding: gzip, deflate, br"
    with functions.run_query(server, store) as query:
        for how, headers in (
            ("cache bypassed", (browser, "Cache-Control: no-cache")),
            ("cached", (browser,)),
        ):
            for name, what, mark in (
                ("QUERY", _WHAT, _PACKED),
                ("NEWS_QUERY", _NEWS, _COUNTED),
            ):
                requests = [_request(name, learner, *headers) for learner in learners]
                request_batch.send(RequestBatch(query.port, requests, mark))
                timed = _measure(query.port, requests, mark)
                yield machine_speed.compare_p95(f"{what}, {how}", timed, bar=_LIMIT)
    server.drop(store)


def _measure(port: int, requests: list[bytes], mark: bytes) -> list[TimedRequest]:
    """Send the requests at a steady rate, again and again, and return their durations."""
    cycle = list(itertools.islice(itertools.cycle(requests), _A_SECOND * _SECONDS))
    batch = RequestBatch(port, cycle, mark, a_second=_A_SECOND, times_loops=True)
    return request_batch.send(batch).responses


def _request(name: str, learner: str, *headers: str) -> bytes:
    today = logs.last_day() + timedelta(days=1)
    monday = today - timedelta(days=today.weekday())
    ranges = {
        "QUERY": {"from": f"{today.year - 1}-01-01", "to": f"{today.year}-12-31"},
        "NEWS_QUERY": {"monday": f"{monday}"},
    }
    return function_client.encode_query(document(name), learner, ranges[name], *headers)


@functools.cache
def document(name: str = "QUERY") -> str:
    """Return a query of the page, read from its script."""
    constants = {n: text for n, _, text in _CONSTANT.findall(_SCRIPT.read_text(encoding="utf-8"))}
    return _INSERTED.sub(lambda match: constants[match[1]], constants[name])
