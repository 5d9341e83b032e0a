"""The page's one request, at a steady rate, for learners with a history."""

import functools
import itertools
import re
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

from bench import asking, cores, functions, study, valkey, volley
from bench.asking import Issuer
from bench.lines import Line
from bench.server import Server
from bench.volley import Volley
from progress.local.parts import ROOT

_LEARNERS = 20  # each has 1,200 items and 200 days of study
_DAYS, _ANSWERS, _FRESH = 200, 20, 6
_A_SECOND, _SECONDS = 20, 15
_LIMIT = 60.0  # milliseconds
_PACKED = b"gzip"  # an error is too short for that

_SCRIPT = ROOT / "progress" / "query" / "page" / "question.js"
_CONSTANT = re.compile(r"^(?:export )?const (\w+) = (['`])(.*?)\2;", re.MULTILINE | re.DOTALL)
_INSERTED = re.compile(r"\$\{(\w+)\}")


def answered(server: Server) -> Iterator[Line]:
    """Each answer from when its request was due: computed, then out of the cache."""
    store = server.store()
    learners = study.fill(store, learners=_LEARNERS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH)
    with ExitStack() as stack:
        stack.enter_context(cores.kept(server.pid, cores.REST))
        issuer = stack.enter_context(asking.issuer())
        with cores.on(cores.REST):
            redis = stack.enter_context(valkey.running())
        told = {**issuer.environment, "DATABASE_URL": store.url, "REDIS_URL": redis}
        with cores.on(cores.MEASURED):
            port = stack.enter_context(functions.running("query", **told)).port
        browser = "Accept-Encoding: gzip, deflate, br"
        passing = [_asked(issuer, one, browser, "Cache-Control: no-cache") for one in learners]
        with cores.on(cores.REST):
            for how, requests in (
                ("cache passed by", passing),
                ("cached", [_asked(issuer, one, browser) for one in learners]),
            ):
                volley.fire(Volley(port, requests, _PACKED))
                yield _line(how, _steadily(port, requests))
    server.drop(store)


def _steadily(port: int, requests: list[bytes]) -> list[float]:
    """Milliseconds until each of the answers, sorted."""
    several = list(itertools.islice(itertools.cycle(requests), _A_SECOND * _SECONDS))
    took = volley.fire(Volley(port, several, _PACKED, a_second=_A_SECOND))
    return sorted(1_000 * each for each in took.each)


def _asked(issuer: Issuer, learner: str, *headers: str) -> bytes:
    year = (study.last_day() + timedelta(days=1)).year
    two_years = {"from": f"{year - 1}-01-01", "to": f"{year}-12-31"}
    before = {"from2": f"{year - 3}-01-01", "to2": f"{year - 2}-12-31"}
    return issuer.question(document(), learner, two_years | before, *headers)


@functools.cache
def document() -> str:
    """The page's question, as its script has it."""
    constants = {n: text for n, _, text in _CONSTANT.findall(_SCRIPT.read_text(encoding="utf-8"))}
    return _INSERTED.sub(lambda match: constants[match[1]], constants["QUESTION"])


def _line(how: str, took: list[float]) -> Line:
    p95 = statistics.quantiles(took, n=20)[-1]
    return Line(
        f"the page's one request, 1,200 items and 200 days, {_A_SECOND} a second, {how}: "
        "95th percentile",
        f"{p95:.1f} ms (median {statistics.median(took):.1f})",
        "",
        p95,
        _LIMIT,
        "ms",
        at_most=True,
    )
