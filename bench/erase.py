"""The erasure of a learner who has a fifth of all events, while other events are appended."""

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import quantiles

from bench import ab_rows, envelopes, logs
from bench.lines import Line, Rounds, limit
from bench.server import Server, Store
from bench.statements import blocks
from progress import settings
from progress.event_store import log
from progress.operations import runner
from progress.projections import rebuild

_EVENTS = 1_000_000
_SHARE = 5  # the learner has a fifth of the events
_SESSION = 42  # events of a session
_OTHERS = 100  # learners
_APPEND_INTERVAL_S, _SAMPLE_INTERVAL_S = 0.02, 0.02
_BASELINE_S = 10.0


def measure_erasure(server: Server) -> Iterator[Line]:
    """Measure the erasure, its longest transaction, and appends before and during the erasure."""
    store = server.create_store()
    theirs = _EVENTS // _SHARE
    logs.fill(store, learners=1, sessions=theirs // _SESSION, seed="erased")
    (learner,) = logs.list_learners(store, events=1)
    sessions = (_EVENTS - theirs) // _SESSION // _OTHERS
    total = logs.fill(store, learners=_OTHERS, sessions=sessions)
    rebuild.run(store.connect)
    before = _p99(_measure_appends(store, lambda: time.sleep(_BASELINE_S)))
    longest: list[float] = []
    begin = time.perf_counter()
    meanwhile = _p99(_measure_appends(store, lambda: longest.append(_erase(store, learner))))
    seconds = time.perf_counter() - begin
    server.drop(store)
    what = f"erasure of {theirs:,} of {total:,} events"
    yield limit(what, seconds, 60, "s", shown=f"{seconds:.1f} s")
    shown = f"{longest[0]:.2f} s"
    yield limit(f"longest transaction of an {what}", longest[0], 1, "s", shown=shown)
    rounds = Rounds()
    rounds.add("meanwhile", 1_000 * meanwhile)
    rounds.add("before", 1_000 * before)
    yield rounds.compare_costs(
        f"p99 of appends during an {what}", "meanwhile", "before", against="before:", bar=2
    )


def _erase(store: Store, learner: str) -> float:
    """Run the erasure; return the duration of its longest transaction in seconds."""
    durations = [0.0]

    def sample() -> None:
        with closing(store.connect()) as connection:
            while not ended.wait(_SAMPLE_INTERVAL_S):
                durations.append(connection.run(blocks("erase")["longest transaction"])[0][0])

    with closing(store.connect()) as connection, _settings_of(store):
        operation_id = ab_rows.accept_erasure(connection, learner)
        ended, sampler = threading.Event(), threading.Thread(target=sample)
        sampler.start()
        runner.run(operation_id)
        ended.set()
        sampler.join()
        ab_rows.expect_success(connection, operation_id)
    return max(durations)


@contextlib.contextmanager
def _settings_of(store: Store) -> Iterator[None]:
    """Let the worker use this store, and an archive that nothing else uses."""
    with tempfile.TemporaryDirectory() as folder:
        settings.fill_in(DATABASE_URL=store.url, PROGRESS_DATA_DIR=folder)
        settings.current.cache_clear()
        yield


def _measure_appends(store: Store, work: Callable[[], None]) -> list[float]:
    """Append single events at a steady rate while the work runs; return each call's seconds."""
    seconds: list[float] = []
    ended = threading.Event()

    def append() -> None:
        source = (envelopes.delivery([event]) for event in envelopes.endless(seed=3))
        with closing(store.connect()) as connection:
            for message in itertools.takewhile(lambda _: not ended.is_set(), source):
                begin = time.perf_counter()
                log.append(connection, [message])
                seconds.append(time.perf_counter() - begin)
                time.sleep(_APPEND_INTERVAL_S)

    thread = threading.Thread(target=append)
    thread.start()
    work()
    ended.set()
    thread.join()
    return seconds


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]
