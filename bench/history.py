"""A window's cost follows the window, not the history behind it."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench import envelopes, logs
from bench.lines import Line, Rounds
from bench.live import WINDOW
from bench.server import Server, Store
from bench.statements import blocks
from progress import eventlog
from progress.database import Connection
from progress.projections import Projector

_ROUNDS = 15
_SESSIONS = 23  # 966 events: all of a window is one learner's
_ITEMS = 40  # of those that the learner has met
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)
_LONG, _SHORT = 4_762, 24  # days, a session of 42 events on each


def against_short(server: Server) -> Iterator[Line]:
    """A learner with 200,000 events of history, against ones with 1,000."""
    store = server.store()
    logs.fill(store, learners=1, sessions=_LONG, seed="long", since=_SINCE)
    logs.fill(store, learners=100, sessions=_SHORT, seed="short", since=_SINCE)
    rounds = _measured(store)
    server.drop(store)
    for how in ("in order", "backdated"):
        yield Line(
            f"a window of a learner with 200,000 events of history, {how}",
            f"{1_000 * rounds.median(f'{how} long'):.1f} ms",
            f"with 1,000: {1_000 * rounds.median(f'{how} short'):.1f} ms",
            rounds.ratio(f"{how} long", f"{how} short"),
            1.25,
            at_most=True,
        )


def _measured(store: Store) -> Rounds:
    """Seconds for a window; each round has another short learner, who has just 1,000 events."""
    rounds, chance = Rounds(), random.Random(1)
    long, *short = logs.learners(store, events=1_000)
    with closing(store.connect()) as ours, closing(store.connect()) as other:
        projector = Projector(ours)
        projector.catch_up_all()
        for number in range(_ROUNDS + 2):
            for how, learner, days in (
                (
                    "in order long",
                    long,
                    range(_LONG + _SESSIONS * number, _LONG + _SESSIONS * (number + 1)),
                ),
                ("in order short", short[2 * number], range(_SHORT, _SHORT + _SESSIONS)),
                ("backdated long", long, chance.sample(range(_LONG), _SESSIONS)),
                ("backdated short", short[2 * number + 1], range(_SESSIONS)),
            ):
                _append(other, learner, [day + number / 100 for day in days])
                seconds = _fold(projector)
                if number > 1:
                    rounds.add(how, seconds)
    return rounds


def _append(connection: Connection, learner: str, days: Sequence[float]) -> None:
    """A session on each of the days, all about items that the learner knows."""
    items = connection.run(blocks("seed")["items"], learner=learner, limit=_ITEMS)
    chance = random.Random(f"{learner} {days}")  # new ids each time
    batch: list[envelopes.Envelope] = []
    for day in days:
        begin = _SINCE + timedelta(days=day, hours=12)
        batch += envelopes.session(learner, begin, chance, [item for (item,) in items])
    eventlog.append(connection, [envelopes.delivery(batch)])


def _fold(projector: Projector) -> float:
    (shard,) = projector.waiting()
    begin = time.perf_counter()
    projector.window(shard, WINDOW)
    return time.perf_counter() - begin
