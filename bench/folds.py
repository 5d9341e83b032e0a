"""The folds: of long histories, and of a whole log."""

import functools
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from bench import envelopes, logs
from bench.lines import Line, Rounds
from bench.server import Server, Store, read_cpu_microseconds
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.projections import rebuild
from progress.projections.projector import Projector
from progress.recovery import checks

_WINDOW = 1_000  # events
_HISTORY_ROUNDS, _ROUNDS = 15, 3
_DAYS, _SHORT = 4_762, 24  # with one session of 42 events each: 200,000 and 1,000 events
_SESSIONS, _ITEMS = 23, 40  # of a measured window: 966 events about items that are known
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)
_CARD_DAYS = 11
# Between which readings a part is measured, and the bar of its ratio.
_CARD_PARTS = {"append": (0, 1, 0.7), "fold": (1, 2, 1.0), "append and fold": (0, 2, 0.8)}


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
        for number in range(_HISTORY_ROUNDS + 2):
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


def compare_cards(server: Server, learners: int = 1_000) -> Iterator[Line]:
    """Compare PostgreSQL's CPU time for each CardReviewed with that for an answer and its review.

    Each day, each learner answers twenty items for the first time. A call of the append has fifty
    of these reviews.
    """
    rounds, chance, reviews = Rounds(), random.Random(3), 20 * learners
    sides = {name: server.create_store().connect() for name in ("pairs", "cards")}
    for day in range(_CARD_DAYS):
        items, at = [f"{day} {n}" for n in range(5_000)], _SINCE + timedelta(days=day)
        names = [f"learner {n}" for n in range(learners)]
        pairs = [e for name in names for e in envelopes.session(name, at, chance, items)]
        for side, events in [("pairs", pairs), ("cards", [*_join(pairs)])][:: day % 2 or -1]:
            size = 50 * len(events) // reviews
            calls = [envelopes.delivery(events[n : n + size]) for n in range(0, len(events), size)]
            ((pid,),) = sides[side].run(blocks("upserts")["pid"])
            projector, times = Projector(sides[side]), [read_cpu_microseconds(pid)]
            for call in calls:
                log.append(sides[side], [call])
            times.append(read_cpu_microseconds(pid))
            projector.catch_up_all()
            times.append(read_cpu_microseconds(pid))
            for part, (begin, end, _) in _CARD_PARTS.items() if day > 1 else ():  # plans are made
                rounds.add(f"{side} {part}", (times[end] - times[begin]) / reviews)
    for connection in sides.values():
        connection.close()
    for part, (_, _, bar) in _CARD_PARTS.items():
        what = f"PostgreSQL's CPU time to {part} a CardReviewed"
        costs, theirs = (f"cards {part}", f"pairs {part}"), "an answer and its review:"
        yield rounds.compare_costs(what, *costs, against=theirs, bar=bar, unit="µs")


def _join(events: list[envelopes.Envelope]) -> Iterator[envelopes.Envelope]:
    """Yield the events, with a CardReviewed in place of each answer and the review after it."""
    for one, after in pairwise([*events, {"event_type": ""}]):
        if after["event_type"] == "ReviewProcessed":
            days, at = after["data"]["new_interval"], datetime.fromisoformat(one["occurred_at"])
            rating = 3 if one["event_type"] == "CorrectAnswerGiven" else 1
            sent = one["data"] | {"rating": rating, "due": (at + timedelta(days)).isoformat()}
            sent["duration_ms"] = sent.pop("response_time_ms")
            yield one | {"event_type": "CardReviewed", "data": sent}
        elif one["event_type"] != "ReviewProcessed":
            yield one


def compare_whole(server: Server) -> Iterator[Line]:
    """Compare PostgreSQL's CPU time for the definitions with that for a rebuild."""
    store, rounds = server.create_store(), Rounds()
    events = logs.fill_long(store, events=1_000_000)
    connect = functools.partial(database.connect, store.url)
    for _ in range(_ROUNDS):
        rounds.add("rebuild", server.measure_cpu(lambda: rebuild.run(connect)))
        rounds.add("definitions", server.measure_cpu(lambda: _fold_whole(store)))
    server.drop(store)
    yield rounds.compare_costs(
        f"PostgreSQL's CPU time for definitions of {events:,} events",
        *("definitions", "rebuild"),
        against="for a rebuild:",
        bar=1.5,
        unit="s",
    )


def _fold_whole(store: Store) -> None:
    with closing(store.connect()) as connection, checks.open_snapshot(connection):
        checks.fold(connection)
