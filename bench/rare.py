"""Rare events: ten thousand of a kind cost little more than ten thousand answers."""

import functools
import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from bench import envelopes, logs
from bench.envelopes import Envelope
from bench.lines import Line
from bench.live import WINDOW
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.event_store.log import Delivery
from progress.projections import batch, rebuild
from progress.projections.projector import Projector

_EVENTS, _MESSAGES = 10_000, 20
_SESSIONS = 40  # of a learner: 800 answers
_AFTER = logs.SINCE + timedelta(days=60)  # all that was studied before
_DAY = 86_400
_POPULAR, _AUDIENCE = "item-popular", 1_000
_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Apia", "UTC")
_BAR = 20


@dataclass
class Cast:
    """Learners with 800 answers, one for each kind of event, and many with a session each."""

    learners: Iterator[str]
    crowd: list[str]


@dataclass(frozen=True)
class Spent:
    """Seconds for events of a kind."""

    recording: float
    folding: float
    batch: float

    @property
    def all(self) -> float:
        """Until they are in every read model."""
        return self.recording + self.folding + self.batch

    def __str__(self) -> str:
        return (
            f"{self.all:.2f} s (recorded {self.recording:.2f}, folded {self.folding:.2f}, "
            f"batch job {self.batch:.2f})"
        )


def against_answers(server: Server) -> Iterator[Line]:
    """Each kind in one message and one after the other, and then what a burst does to others."""
    store = server.store()
    cast = _cast(store)
    with ExitStack() as stack:
        folding, other = (stack.enter_context(closing(store.connect())) for _ in range(2))
        worker = _Worker(Projector(folding), other)
        worker.projector.catch_up_all()
        yield _of_preferences(worker, cast)
        worker.spend(_answers(cast.crowd[:_AUDIENCE], item=_POPULAR))  # those who studied it
        for what, make in _OF_ONE.items():
            plain = worker.spend(_answers([next(cast.learners)]))
            yield _line(what, worker.spend(make(next(cast.learners))), plain)
        for what, of_many in _OF_MANY.items():
            plain = worker.spend(_answers(cast.crowd))
            yield _line(what, worker.spend(of_many(cast.crowd)), plain)
    server.drop(store)
    yield _of_neighbours(server)


def _cast(store: Store) -> Cast:
    logs.fill(store, learners=2 * len(_OF_ONE) + 2, sessions=_SESSIONS, seed="of one")
    learners = logs.learners(store, events=1)
    logs.fill(store, learners=_EVENTS, sessions=1, seed="of many")
    rebuild.run(functools.partial(database.connect, store.url))
    with closing(store.connect()) as connection:
        batch.run(connection)
    return Cast(iter(learners), [u for u in logs.learners(store, events=1) if u not in learners])


class _Worker:
    """What records, folds, and runs the batch job."""

    def __init__(self, projector: Projector, connection: Connection) -> None:
        self.projector, self._connection = projector, connection

    def spend(self, events: Iterable[Envelope]) -> Spent:
        """Take these events in, in one message."""
        delivery = envelopes.delivery(list(events))
        times = [time.perf_counter()]
        for step in (
            lambda: log.append(self._connection, [delivery]),
            self.projector.catch_up_all,
            lambda: batch.run(self._connection),
        ):
            step()
            times.append(time.perf_counter())
        return Spent(*(after - before for before, after in itertools.pairwise(times)))

    def fold(self, events: Iterable[Envelope]) -> float:
        """Seconds to fold these events, which come in twenty messages."""
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


def _line(what: str, spent: Spent, plain: Spent) -> Line:
    ratio = spent.all / plain.all
    against = f"as many answers: {plain.all:.2f} s"
    return Line(f"{_EVENTS:,} × {what}", str(spent), against, ratio, _BAR, at_most=True)


def _of_preferences(worker: _Worker, cast: Cast) -> Line:
    """Folding alone, message by message."""
    answers = worker.fold(_answers([next(cast.learners)]))
    changes = worker.fold(_changes(next(cast.learners)))
    return Line(
        f"{_EVENTS:,} changes of preferences in {_MESSAGES} messages, half of them backdated "
        "to times among 800 answers, folded",
        f"{changes:.2f} s",
        f"as many answers: {answers:.2f} s",
        changes / answers,
        _BAR,
        at_most=True,
    )


def _event(kind: str, seconds: float, **data: object) -> Envelope:
    """One that happens so long after all that was studied."""
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": kind,
        "occurred_at": (_AFTER + timedelta(seconds=seconds)).isoformat(),
        "data": data,
        "metadata": {},
    }


def _answers(users: list[str], item: str | None = None, apart: float = 1) -> Iterator[Envelope]:
    chance = random.Random(str(users[:1]))
    for n, user in zip(range(_EVENTS), itertools.cycle(users), strict=False):
        of = {"user_id": user, "session_id": f"of {user}", "response_time_ms": 900}
        word = item or f"item-{chance.randrange(5_000)}"
        yield _event("CorrectAnswerGiven", apart * n, **of, item_id=word)


def _changes(user: str) -> Iterator[Envelope]:
    chance = random.Random(user)
    for n in range(_EVENTS):
        at = -chance.randrange(60 * _DAY) if n % 2 else n
        said = {"timezone": chance.choice(_ZONES), "day_start_hour": chance.randrange(6)}
        yield _event("UserPreferencesChanged", at, user_id=user, **said)


def _repeated(
    kind: str, data: Mapping[str, object], apart: float = 1
) -> Callable[[str], Iterator[Envelope]]:
    """The same of a learner again and again, at times so far apart; backwards where negative."""
    return lambda user: (_event(kind, apart * n, user_id=user, **data) for n in range(_EVENTS))


def _descriptions(items: Iterable[str], kind: str = "ItemUpdated") -> Iterator[Envelope]:
    for n, item in zip(range(_EVENTS), items, strict=False):
        said = {"headword": f"word {n}", "cefr_level": ("A1", "C2")[n % 2], "domains": ["R", "S"]}
        yield _event(kind, n, item_id=item, **(said if kind == "ItemUpdated" else {}))


def _late_start(user: str) -> Iterator[Envelope]:
    """Answers that name no learner, and then the start that does."""
    session = {"session_id": f"late {user}"}
    for answer in itertools.islice(_answers([user]), _EVENTS - 1):
        yield {**answer, "data": {**answer["data"], **session, "user_id": None}}
    yield _event("SessionStarted", -1, user_id=user, item_count=1, **session)


def _starts(user: str) -> Iterator[Envelope]:
    """Starts of a session that is another's."""
    session = {"session_id": "owned", "item_count": 1}
    yield _event("SessionStarted", 0, user_id="its owner", **session)
    yield from _repeated("SessionStarted", session)(user)


_REVIEW = {"item_id": "item-1", "new_interval": 9, "easiness_factor": 2.5}
_END = {"session_id": "ended", "score": 80, "duration_seconds": 60}
_ADDRESS = {"email": "a@example.com", "timezone": "Asia/Tokyo"}
_OF_ONE: dict[str, Callable[[str], Iterator[Envelope]]] = {
    "preferences of one learner": _changes,
    "a learner's creation": _repeated("UserCreated", _ADDRESS),
    "a learner's creation, each before the last": _repeated("UserCreated", _ADDRESS, -700),
    "a learner's deletion": _repeated("UserDeleted", {}),
    "a completion of one session": _repeated("SessionCompleted", _END),
    "a completion, each before the last": _repeated("SessionCompleted", _END, -700),
    "an abandonment of one session": _repeated("SessionAbandoned", {"session_id": "left"}),
    "a review of one item": _repeated("ReviewProcessed", _REVIEW),
    "a review of one item, each before the last": _repeated("ReviewProcessed", _REVIEW, -700),
    "an answer about one item, each before the last": lambda user: _answers([user], "item-2", -700),
    "an answer that waits for a late start, which is the last": _late_start,
    "a start of another's session": _starts,
    "a description of one item that 1,000 learners studied": lambda _: _descriptions(
        itertools.repeat(_POPULAR)
    ),
}
_OF_MANY: dict[str, Callable[[list[str]], Iterator[Envelope]]] = {
    "an item's description": lambda _: _descriptions(f"item-{n}" for n in itertools.count()),
    "an item's archiving": lambda _: _descriptions(
        (f"item-{n}" for n in itertools.count()), "ItemArchived"
    ),
    "the creation of a learner who is new": lambda users: (
        _event("UserCreated", n, user_id=f"new {user}", **_ADDRESS) for n, user in enumerate(users)
    ),
    "the creation, told late, of a learner who has studied": lambda users: (
        _event("UserCreated", n, user_id=user, **_ADDRESS) for n, user in enumerate(users)
    ),
    "a learner's deletion, of as many learners": lambda users: (
        _event("UserDeleted", n, user_id=user) for n, user in enumerate(users)
    ),
}


def _of_neighbours(server: Server) -> Line:
    """The longest wait for an answer of a learner whose shard has the burst."""
    store = server.store()
    logs.fill(store, learners=40, sessions=_SESSIONS)
    with closing(store.connect()) as connection:
        Projector(connection).catch_up_all()
        busy, other = connection.run(blocks("rare")["neighbours"], events=1_000)[0]
    alone = _longest_wait(store, other, [None] * _MESSAGES)
    burst = _longest_wait(store, other, _messages(list(_changes(busy))))
    server.drop(store)
    return Line(
        "an answer of another learner of the shard during that burst, until it is folded: longest",
        f"{1_000 * burst:.0f} ms",
        f"without the burst: {1_000 * alone:.0f} ms",
        1_000 * burst,
        max(5_000, 10_000 * alone),
        "ms",
        at_most=True,
    )


def _longest_wait(store: Store, user: str, messages: Iterable[Delivery | None]) -> float:
    """Seconds; an answer follows each message, as fast as they are recorded."""
    recorded: list[tuple[int, float]] = []
    answers = _answers([user])
    with (
        closing(store.connect()) as ours,
        closing(store.connect()) as folding,
        ThreadPoolExecutor(1) as pool,
    ):
        (shard,), is_over = ours.run(blocks("rare")["shard"], learner=user)[0], Event()
        reaching = pool.submit(_reached, folding, shard, is_over)
        for message in messages:
            answer = envelopes.delivery([next(answers)])
            for delivery in filter(None, (message, answer)):
                log.append(ours, [delivery])
            recorded.append((ours.run(blocks("rare")["head"])[0][0], time.perf_counter()))
        is_over.set()
        reached = reaching.result()
    return max(
        next(at for position, at in reached if position >= wanted) - since
        for wanted, since in recorded
    )


def _reached(connection: Connection, shard: int, is_over: Event) -> list[tuple[int, float]]:
    """Positions that the shard was folded up to, and when; until it is over and all is folded."""
    projector, found = Projector(connection), list[tuple[int, float]]()
    while True:
        was_over = is_over.is_set()
        if projector.fold_window(shard, WINDOW):
            position = connection.run(blocks("rare")["reached"], shard=shard)[0][0]
            found.append((position, time.perf_counter()))
        elif was_over:
            return found
