"""The time to process 10,000 rare events of one kind, compared with that of 10,000 answers."""

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from bench import envelopes, logs
from bench.envelopes import Envelope
from bench.folds import WINDOW
from bench.lines import Line, limit
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.event_store.log import Delivery
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from tests.support.envelopes import envelope

_EVENTS, _MESSAGES = 10_000, 20
_SESSIONS = 40  # sessions of a learner, with 800 answers in total
_AFTER = logs.SINCE + timedelta(days=60)  # after all study sessions
_DAY = 86_400
_POPULAR, _AUDIENCE = "item-popular", 1_000
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Apia", "UTC")
_BAR = 20


@dataclass
class Cast:
    """The learners of the benchmark."""

    learners: Iterator[str]  # learners with 800 answers each; every learner is used once
    crowd: list[str]  # learners with one session each


def compare_with_answers(server: Server) -> Iterator[Line]:
    """Compare the times of rare events and of answers; measure the delay that a burst causes."""
    store = server.create_store()
    cast = _create_cast(store)
    with ExitStack() as stack:
        folding, other = (stack.enter_context(closing(store.connect())) for _ in range(2))
        worker = _Worker(Projector(folding), other)
        worker.projector.catch_up_all()
        yield _measure_preferences(worker, cast)
        # Let many learners study `_POPULAR`, because some of the measured events change this item.
        worker.process(_answers(cast.crowd[:_AUDIENCE], item=_POPULAR))
        for what, make in _FOR_ONE.items():
            plain = worker.process(_answers([next(cast.learners)]))
            yield _line(what, worker.process(make(next(cast.learners))), plain)
        for what, make_many in _FOR_MANY.items():
            plain = worker.process(_answers(cast.crowd))
            yield _line(what, worker.process(make_many(cast.crowd)), plain)
    server.drop(store)
    yield _measure_neighbours(server)


def _create_cast(store: Store) -> Cast:
    logs.fill(store, learners=2 * len(_FOR_ONE) + 2, sessions=_SESSIONS, seed="of one")
    learners = logs.list_learners(store, events=1)
    logs.fill(store, learners=_EVENTS, sessions=1, seed="of many")
    rebuild.run(functools.partial(database.connect, store.url))
    with closing(store.connect()) as connection:
        batch.run(connection)
    return Cast(
        iter(learners), [u for u in logs.list_learners(store, events=1) if u not in learners]
    )


class _Worker:
    """A worker that records events, folds them, and runs the batch job."""

    def __init__(self, projector: Projector, connection: Connection) -> None:
        self.projector, self._connection = projector, connection

    def process(self, events: Iterable[Envelope]) -> float:
        """Record the events in one message, fold them, run the batch job; return the seconds."""
        delivery = envelopes.delivery(list(events))
        begin = time.perf_counter()
        log.append(self._connection, [delivery])
        self.projector.catch_up_all()
        batch.run(self._connection)
        return time.perf_counter() - begin

    def fold(self, events: Iterable[Envelope]) -> float:
        """Append the events in twenty messages and fold them; return the seconds of the folds."""
        seconds = 0.0
        for delivery in _messages(list(events)):
            log.append(self._connection, [delivery])
            begin = time.perf_counter()
            self.projector.catch_up_all()
            seconds += time.perf_counter() - begin
        return seconds


def _messages(events: list[Envelope]) -> list[Delivery]:
    size = len(events) // _MESSAGES
    return [envelopes.delivery(list(part)) for part in zip(*[iter(events)] * size, strict=True)]


def _line(what: str, seconds: float, plain: float) -> Line:
    against = f"{_EVENTS:,} answers: {plain:.2f} s"
    shown = f"{seconds:.2f} s"
    return limit(f"{_EVENTS:,} × {what}", seconds / plain, _BAR, shown=shown, against=against)


def _measure_preferences(worker: _Worker, cast: Cast) -> Line:
    """Measure how long the folds of changed preferences take, without the appends."""
    answers = worker.fold(_answers([next(cast.learners)]))
    changes = worker.fold(_changes(next(cast.learners)))
    what = f"fold of UserPreferencesChanged in {_MESSAGES} messages, 50 % of them backdated"
    return _line(what, changes, answers)


def _event(kind: str, seconds: float, **data: object) -> Envelope:
    """Return an event whose time is `_AFTER` plus `seconds`, which may be negative."""
    return envelope(kind, data, occurred_at=(_AFTER + timedelta(seconds=seconds)).isoformat())


def _answers(users: list[str], item: str | None = None, interval: float = 1) -> Iterator[Envelope]:
    chance = random.Random(str(users[:1]))
    for n, user in zip(range(_EVENTS), itertools.cycle(users), strict=False):
        of = {"user_id": user, "session_id": f"of {user}", "response_time_ms": 900}
        word = item or f"item-{chance.randrange(5_000)}"
        yield _event("CorrectAnswerGiven", interval * n, **of, item_id=word)


def _changes(user: str) -> Iterator[Envelope]:
    chance = random.Random(user)
    for n in range(_EVENTS):
        at = -chance.randrange(60 * _DAY) if n % 2 else n
        fields = {"timezone": chance.choice(_ZONES), "day_start_hour": chance.randrange(6)}
        yield _event("UserPreferencesChanged", at, user_id=user, **fields)


def _repeat(
    kind: str, data: Mapping[str, object], interval: float = 1
) -> Callable[[str], Iterator[Envelope]]:
    """Return a function that yields events; with a negative `interval` (seconds), newest first."""
    return lambda user: (_event(kind, interval * n, user_id=user, **data) for n in range(_EVENTS))


def _late_start(user: str) -> Iterator[Envelope]:
    """Yield answers that name no learner, then the SessionStarted that names their learner."""
    session = {"session_id": f"late {user}"}
    for answer in itertools.islice(_answers([user]), _EVENTS - 1):
        yield {**answer, "data": {**answer["data"], **session, "user_id": None}}
    yield _event("SessionStarted", -1, user_id=user, item_count=1, **session)


_REVIEW = {"item_id": "item-1", "new_interval": 9, "easiness_factor": 2.5}
_ADDRESS = {"email": "a@example.com", "timezone": "Asia/Tokyo"}
_FOR_ONE: dict[str, Callable[[str], Iterator[Envelope]]] = {
    "UserPreferencesChanged of one learner": _changes,
    "UserDeleted of one learner": _repeat("UserDeleted", {}),
    "ReviewProcessed of one item, newest first": _repeat("ReviewProcessed", _REVIEW, -700),
    "CorrectAnswerGiven of one item, newest first": lambda user: _answers([user], "item-2", -700),
    "pending CorrectAnswerGiven, released by the last event": _late_start,
    "ItemUpdated of one item that 1,000 learners studied": lambda _: (
        _event("ItemUpdated", n, item_id=_POPULAR, cefr_level=("A1", "C2")[n % 2], domains=["R"])
        for n in range(_EVENTS)
    ),
}
_FOR_MANY: dict[str, Callable[[list[str]], Iterator[Envelope]]] = {
    "late UserCreated, learners who have studied already": lambda users: (
        _event("UserCreated", n, user_id=user, **_ADDRESS) for n, user in enumerate(users)
    ),
    "UserDeleted, different learners": lambda users: (
        _event("UserDeleted", n, user_id=user) for n, user in enumerate(users)
    ),
}


def _measure_neighbours(server: Server) -> Line:
    """Measure the longest delay that a burst causes for another learner of the same shard."""
    store = server.create_store()
    logs.fill(store, learners=40, sessions=_SESSIONS)
    with closing(store.connect()) as connection:
        Projector(connection).catch_up_all()
        busy, other = connection.run(blocks("rare")["neighbours"], events=1_000)[0]
    alone = _longest_wait(store, other, [None] * _MESSAGES)
    burst = _longest_wait(store, other, _messages(list(_changes(busy))))
    server.drop(store)
    return limit(
        "longest time until an answer is folded, while another learner of the same shard "
        f"changes preferences {_EVENTS:,} times",
        *(1_000 * burst, max(5_000, 10_000 * alone), "ms"),
        against=f"without the burst: {1_000 * alone:.0f} ms",
    )


def _longest_wait(store: Store, user: str, messages: Iterable[Delivery | None]) -> float:
    """Append each message, then an answer; return the longest time until an answer is folded."""
    recorded: list[tuple[int, float]] = []
    answers = _answers([user])
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
