"""The folds of long histories."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench import envelopes, logs
from bench.lines import Line, Rounds
from bench.server import Server
from bench.statements import blocks
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.projections.projector import Projector

_WINDOW = 1_000  # events
_ROUNDS = 15
_DAYS, _SHORT = 4_762, 24  # with one session of 42 events each: 200,000 and 1,000 events
_SESSIONS, _ITEMS = 23, 40  # of a measured window: 966 events about items that are known
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)


def compare_with_short(server: Server) -> Iterator[Line]:
    """Compare windows of a long history (200,000 events) with windows of short ones (1,000)."""
    store, rounds = server.create_store(), Rounds()
    logs.fill(store, learners=1, sessions=_DAYS, seed="long", since=_SINCE)
    logs.fill(store, learners=100, sessions=_SHORT, seed="short", since=_SINCE)
    chance = random.Random(1)
    long, *short = logs.list_learners(store, events=1_000)
    with closing(store.connect()) as connection:
        projector = Projector(connection)
        projector.catch_up_all()
        for number in range(_ROUNDS + 2):
            middle = chance.randrange(_DAYS - _SHORT)
            for how, learner, known, first in (
                ("in order long", long, _DAYS - _SHORT, _DAYS + _SESSIONS * number),
                ("in order short", short[2 * number], 0, _SHORT),
                ("backdated long", long, middle, middle),
                ("backdated short", short[2 * number + 1], 0, 0),
            ):
                _append(connection, learner, known, first + number / 100)
                milliseconds = _time_window(projector)
                if number > 1:
                    rounds.add(how, milliseconds)
    server.drop(store)
    for how in ("in order", "backdated"):
        yield rounds.compare_costs(
            f"a window of a learner with 200,000 events of history, {how}",
            *(f"{how} long", f"{how} short"),
            against="with 1,000:",
            bar=1.25,
        )


def _time_window(projector: Projector) -> float:
    """Fold the window of the only shard with new events; return the milliseconds."""
    (shard,) = projector.find_shards_behind()
    begin = time.perf_counter()
    projector.fold_window(shard, _WINDOW)
    return 1_000 * (time.perf_counter() - begin)


def _append(connection: Connection, learner: str, known: int, first: float) -> None:
    """Append one session a day, for `_SESSIONS` days from day `first` on.

    The answers are about items that the learner has answered in the `_SHORT` days from day `known`.
    """
    bounds = {"after": 42 * known + 1, "until": 42 * (known + _SHORT)}
    items = connection.run(blocks("logs")["items"], learner=learner, limit=_ITEMS, **bounds)
    chance = random.Random(f"{learner} {first}")  # each call needs new event IDs
    batch: list[envelopes.Envelope] = []
    for day in range(_SESSIONS):
        begin = _SINCE + timedelta(days=first + day, hours=12)
        batch += envelopes.session(learner, begin, chance, [item for (item,) in items])
    log.append(connection, [envelopes.delivery(batch)])
