"""Thirty days of seven fields, asked of the query function and of graphql-yoga on Node."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from bench import asking, cores, functions, study, valkey, yoga
from bench.asking import Issuer
from bench.lines import Line, Rounds
from bench.server import Server, Store
from bench.statements import blocks
from bench.volley import Volley, fire

_LEARNERS = 1_500  # so many that none comes to the limit of a minute
_DAYS, _RANGE = 60, 30
_REQUESTS = 4_000  # of a contender in a round
_ROUNDS = 9
_HOT = 1_000  # learners whose answers are kept
_FIELDS = (
    "date sessionsCompleted studyTimeMinutes answers correctAnswers accuracyRate averageResponseMs"
)
_OWN = "query Days($from: Date!, $to: Date!) { dailyStats(from: $from, to: $to) { %s } }" % _FIELDS  # noqa: UP031
_NAMED = _OWN.replace("Days(", "Days($userId: ID!, ").replace("Stats(", "Stats(userId: $userId, ")


@dataclass(frozen=True)
class _Contenders:
    """The ports of the query function, of yoga doing the same work, of bare yoga."""

    store: Store
    learners: list[str]
    issuer: Issuer
    ours: int
    full: int
    bare: int

    def questions(self) -> Iterator[tuple[bytes, bytes]]:
        """Requests, no two alike."""
        return questions(self.issuer, self.learners)


def questions(issuer: Issuer, learners: list[str]) -> Iterator[tuple[bytes, bytes]]:
    """Requests, no two alike: of a learner with their token, and of anybody about them."""
    for back, learner in itertools.product(range(_DAYS - _RANGE + 1), learners):
        to = study.last_day() - timedelta(days=back)
        span = {"from": to - timedelta(days=_RANGE - 1), "to": to}
        of_any = asking.question(_NAMED, {"userId": learner, **span})
        yield issuer.question(_OWN, learner, span), of_any


def missed(server: Server) -> Iterator[Line]:
    """Answers that have to be computed, and what PostgreSQL spends on them."""
    rounds = _misses(server)
    yield Line(
        "a miss: 30 daily rows × 7 fields, one core",
        rounds.rate("ours", "requests"),
        f"yoga with pg doing the same {rounds.rate('yoga full', 'requests')}",
        rounds.ratio("ours", "yoga full"),
        1.6,
    )
    yield Line(
        "the same miss",
        rounds.rate("ours", "requests"),
        f"bare yoga with pg {rounds.rate('yoga bare', 'requests')}",
        rounds.ratio("ours", "yoga bare"),
        1.15,
    )
    yield Line(
        "PostgreSQL's time for that miss",
        f"{rounds.median('ours, database'):.0f} µs",
        f"yoga's: {rounds.median('yoga full, database'):.0f} µs",
        rounds.ratio("ours, database", "yoga full, database"),
        1.1,
        at_most=True,
    )


def _misses(server: Server) -> Rounds:
    """Answers a second, and microseconds of PostgreSQL for each."""
    rounds = Rounds()
    with _running(server) as of:
        source = of.questions()
        _compare(of, *next(source))
        for number in range(_ROUNDS + 2):  # the first two warm up: then every token is known
            batch = list(itertools.islice(source, _REQUESTS))
            of_caller, named = [request for request, _ in batch], [request for _, request in batch]
            for name, volley in (
                ("ours", Volley(of.ours, of_caller, b'"MISS"')),
                ("yoga full", Volley(of.full, of_caller)),
                ("yoga bare", Volley(of.bare, named)),
            ):
                before, took = spent(of.store), _fired(volley)
                if number > 1:
                    rounds.add(name, _REQUESTS / took)
                    rounds.add(f"{name}, database", (spent(of.store) - before) / _REQUESTS)
    return rounds


def hit(server: Server) -> Iterator[Line]:
    """Answers that are kept, against bare yoga's, which are computed."""
    rounds = Rounds()
    with _running(server) as of:
        source = of.questions()
        hot = [request for request, _ in itertools.islice(source, _HOT)]
        for number in range(_ROUNDS + 2):
            misses = [request for _, request in itertools.islice(source, _REQUESTS)]
            _fired(Volley(of.ours, hot))  # for versions are looked up again after five seconds
            kept = _fired(Volley(of.ours, hot * (_REQUESTS // _HOT), b'"HIT"'))
            bare = _fired(Volley(of.bare, misses))
            if number > 1:
                rounds.add("hit", _REQUESTS / kept)
                rounds.add("yoga bare", _REQUESTS / bare)
    yield Line(
        "a hit of the same, one core",
        rounds.rate("hit", "requests"),
        f"a miss of bare yoga: {rounds.rate('yoga bare', 'requests')}",
        rounds.ratio("hit", "yoga bare"),
        2.0,
    )


@contextlib.contextmanager
def _running(server: Server) -> Iterator[_Contenders]:
    """The three on one core, each by itself; their databases and who asks on the other."""
    yoga.install()
    store = server.store()
    learners = study.fill(store, learners=_LEARNERS, days=_DAYS, answers=2, fresh=1)
    with ExitStack() as stack:
        stack.enter_context(cores.kept(server.pid, cores.REST))
        issuer = stack.enter_context(asking.issuer())
        with cores.on(cores.REST):
            redis = stack.enter_context(valkey.running())
        told = {**issuer.environment, "REDIS_URL": redis}
        with cores.on(cores.MEASURED):
            ours = functions.running("query", **told, DATABASE_URL=store.url)
            port = stack.enter_context(ours).port
            full = stack.enter_context(yoga.running("full", store, **told))
            bare = stack.enter_context(yoga.running("bare", store))
        yield _Contenders(store, learners, issuer, port, full, bare)
    server.drop(store)


def _compare(of: _Contenders, own: bytes, named: bytes) -> None:
    """AssertionError unless all three answer the same thirty rows."""
    ours, full, bare = (
        msgspec.json.decode(asking.answer(port, request))["data"]
        for port, request in ((of.ours, own), (of.full, own), (of.bare, named))
    )
    assert ours == full == bare, (ours, full, bare)
    assert len(ours["dailyStats"]) == _RANGE, ours


def _fired(what: Volley) -> float:
    with cores.on(cores.REST):
        return fire(what).all


def spent(store: Store) -> float:
    """Microseconds that the sessions in the database have computed for."""
    with closing(store.connect()) as connection:
        pids = connection.run(blocks("daily")["sessions"])
    return sum(_computed(pid) for (pid,) in pids)


def _computed(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000
