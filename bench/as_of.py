"""The queries for progress, days and streak as of a past time, without and with a snapshot."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench import envelopes, logs
from bench.lines import Line, limit_p95
from bench.server import Server, Store
from progress.event_store import log
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import open_reader

_LEARNERS = 4  # their events alternate in the log
_DAYS, _ANSWERS, _FRESH = 625, 20, 2  # this gives 42 events a day and 1,250 items
_SINCE = 100  # the number of events after the snapshot
_ROUNDS = 40
_BARS = {"of 25,000 events": 250.0, f"{_SINCE} events after a snapshot": 40.0}


def measure_moments(server: Server) -> Iterator[Line]:
    """Measure the three queries one after another with the query function's reader."""
    store = server.create_store()
    # logs.fill_studies also runs the batch job, which takes snapshots.
    learner, *_ = logs.fill_studies(
        store, learners=_LEARNERS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH
    )
    begin = datetime.now(UTC)
    _append(store, learner, begin)
    last = datetime.combine(logs.last_day(), datetime.min.time(), UTC)
    moments = {
        "of 25,000 events": last - timedelta(days=_DAYS - 25_000 // 42),
        f"{_SINCE} events after a snapshot": begin + timedelta(days=1),
    }
    for what, moment in moments.items():
        milliseconds = asyncio.run(_measure(store, learner, moment))
        yield limit_p95(f"asOf of a learner, {what}", milliseconds, _BARS[what])
    server.drop(store)


def _append(store: Store, learner: str, begin: datetime) -> None:
    chance = random.Random(1)
    items = [f"item-{number}" for number in range(1, 1_251)]
    more = [e for _ in range(3) for e in envelopes.session(learner, begin, chance, items)]
    with closing(store.connect()) as connection:
        log.append(connection, [envelopes.delivery(more[:_SINCE])])


async def _measure(store: Store, learner: str, moment: datetime) -> list[float]:
    """Return the durations of the queries in milliseconds, after two warm-up rounds."""
    milliseconds: list[float] = []
    days = (moment - timedelta(days=30)).date(), moment.date()
    async with open_reader(store.url) as reader:
        queries = Queries(reader)
        for number in range(_ROUNDS + 2):
            for question in (
                queries.get_current_progress(learner, as_of=moment),
                queries.get_stats_range(learner, *days, as_of=moment),
                queries.get_streak(learner, as_of=moment),
            ):
                begin = time.perf_counter()
                assert await question
                if number > 1:
                    milliseconds.append(1_000 * (time.perf_counter() - begin))
    return milliseconds
