"""Benchmark of windows: the cost should not depend on the number of a learner's earlier events."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench import envelopes, logs
from bench.lines import Line, Rounds
from bench.live import WINDOW
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.projections.projector import Projector

_ROUNDS = 15
_EVENTS_A_DAY = 42
_SESSIONS = 23  # 966 events, which fit in one window
_ITEMS = 40  # items of the new answers; the learner has answered these items before
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)
_LONG, _SHORT = 4_762, 24  # days with one session of 42 events each


def compare_with_short(server: Server) -> Iterator[Line]:
    """Compare windows of a long history (200,000 events) with windows of short ones (1,000)."""
    store = server.create_store()
    logs.fill(store, learners=1, sessions=_LONG, seed="long", since=_SINCE)
    logs.fill(store, learners=100, sessions=_SHORT, seed="short", since=_SINCE)
    rounds = _measure(store)
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


def _measure(store: Store) -> Rounds:
    """Return the seconds per window, for the long history and for the short histories."""
    rounds, chance = Rounds(), random.Random(1)
    long, *short = logs.learners(store, events=1_000)
    with closing(store.connect()) as ours, closing(store.connect()) as other:
        projector = Projector(ours)
        projector.catch_up_all()
        for number in range(_ROUNDS + 2):
            middle = chance.randrange(_LONG - _SHORT)
            for how, learner, known, first in (
                ("in order long", long, _LONG - _SHORT, _LONG + _SESSIONS * number),
                ("in order short", short[2 * number], 0, _SHORT),
                ("backdated long", long, middle, middle),
                ("backdated short", short[2 * number + 1], 0, 0),
            ):
                _append(other, learner, known, first + number / 100)
                seconds = _fold(projector)
                if number > 1:
                    rounds.add(how, seconds)
    return rounds


def _append(connection: Connection, learner: str, known: int, first: float) -> None:
    """Append one session a day, for `_SESSIONS` days from day `first` on.

    The answers are about items that the learner has answered in a period of `_SHORT` days. The
    period begins on day `known`.
    """
    items = connection.run(
        blocks("seed")["items"],
        learner=learner,
        after=_EVENTS_A_DAY * known + 1,
        until=_EVENTS_A_DAY * (known + _SHORT),
        limit=_ITEMS,
    )
    chance = random.Random(f"{learner} {first}")  # each call needs new event IDs
    batch: list[envelopes.Envelope] = []
    for day in range(_SESSIONS):
        begin = _SINCE + timedelta(days=first + day, hours=12)
        batch += envelopes.session(learner, begin, chance, [item for (item,) in items])
    log.append(connection, [envelopes.delivery(batch)])


def _fold(projector: Projector) -> float:
    (shard,) = projector.find_shards_behind()
    begin = time.perf_counter()
    projector.fold_window(shard, WINDOW)
    return time.perf_counter() - begin
