"""The time until an answer is folded while another learner of the shard changes preferences."""

import itertools
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from threading import Event

from bench import envelopes, logs
from bench.envelopes import Envelope
from bench.folds import WINDOW
from bench.lines import Line, limit
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.event_store.log import Delivery
from progress.projections.projector import Projector
from tests.support.envelopes import envelope

_EVENTS, _MESSAGES = 10_000, 20
_SESSIONS = 40  # sessions of a learner, with 800 answers in total
_AFTER = logs.SINCE + timedelta(days=60)  # after all study sessions
_DAY = 86_400
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Apia", "UTC")


def measure_neighbours(server: Server) -> Iterator[Line]:
    """Measure the longest delay that a burst causes for another learner of the same shard."""
    store = server.create_store()
    logs.fill(store, learners=40, sessions=_SESSIONS)
    with closing(store.connect()) as connection:
        Projector(connection).catch_up_all()
        busy, other = connection.run(blocks("rare")["neighbours"], events=1_000)[0]
    alone = _longest_wait(store, other, [None] * _MESSAGES)
    changes, size = _changes(busy), _EVENTS // _MESSAGES
    messages = (list(itertools.islice(changes, size)) for _ in range(_MESSAGES))
    burst = _longest_wait(store, other, map(envelopes.delivery, messages))
    server.drop(store)
    yield limit(
        "longest time until an answer is folded, while another learner of the same shard "
        f"changes preferences {_EVENTS:,} times",
        *(1_000 * burst, max(5_000, 10_000 * alone), "ms"),
        against=f"without the burst: {1_000 * alone:.0f} ms",
    )


def _event(kind: str, seconds: float, **data: object) -> Envelope:
    """Return an event whose time is `_AFTER` plus `seconds`, which may be negative."""
    return envelope(kind, data, occurred_at=(_AFTER + timedelta(seconds=seconds)).isoformat())


def _answers(user: str) -> Iterator[Envelope]:
    for n in itertools.count():
        of = {"user_id": user, "session_id": f"of {user}", "item_id": f"item-{n}"}
        yield _event("CorrectAnswerGiven", n, **of, response_time_ms=900)


def _changes(user: str) -> Iterator[Envelope]:
    """Yield changes; half of them are backdated into the time of the learner's sessions."""
    chance = random.Random(user)
    for n in range(_EVENTS):
        at = -chance.randrange(60 * _DAY) if n % 2 else n
        fields = {"timezone": chance.choice(_ZONES), "day_start_hour": chance.randrange(6)}
        yield _event("UserPreferencesChanged", at, user_id=user, **fields)


def _longest_wait(store: Store, user: str, messages: Iterable[Delivery | None]) -> float:
    """Append each message, then an answer; return the longest time until an answer is folded."""
    recorded: list[tuple[int, float]] = []
    answers = _answers(user)
    with (
        closing(store.connect()) as ours,
        closing(store.connect()) as folding,
        ThreadPoolExecutor(1) as pool,
    ):
        (shard,), stop = ours.run(blocks("rare")["shard"], learner=user)[0], Event()
        future = pool.submit(_fold_until, folding, shard, stop)
        for message in messages:
            answer = envelopes.delivery([next(answers)])
            for delivery in filter(None, (message, answer)):
                log.append(ours, [delivery])
            recorded.append((ours.run(blocks("rare")["head"])[0][0], time.perf_counter()))
        stop.set()
        progress = future.result()
    return max(
        next(at for position, at in progress if position >= wanted) - since
        for wanted, since in recorded
    )


def _fold_until(connection: Connection, shard: int, stop: Event) -> list[tuple[int, float]]:
    """Fold until `stop` is set and no event is left; return each window's position and time."""
    projector, positions = Projector(connection), list[tuple[int, float]]()
    while True:
        was_stopped = stop.is_set()
        if projector.fold_window(shard, WINDOW):
            position = connection.run(blocks("rare")["checkpoint"], shard=shard)[0][0]
            positions.append((position, time.perf_counter()))
        elif was_stopped:
            return positions
