"""Queries about a learner's past: fields alone and together, and recent times."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench import envelopes, logs
from bench.lines import Line, limit, limit_p95
from bench.server import Server, Store
from progress.adapters import request_scope
from progress.event_store import log
from progress.projections.projector import Projector
from progress.query.read_models import rows
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import open_reader
from progress.query.read_models.rows import Moment, PeriodLength

_LEARNERS = 4  # their events alternate in the log
_DAYS, _ANSWERS, _FRESH = 625, 20, 2  # this gives 42 events a day and 1,250 items
_ROUNDS = 40
_MAX_FIELD_MS, _MAX_PAGE = 250.0, 2.5
_MAX_RECENT = 20.0

Fields = list[Callable[[], Awaitable[object]]]


def measure_moments(server: Server) -> Iterator[Line]:
    """Measure the queries of the page with the query function's reader."""
    store = server.create_store()
    learner, *_ = logs.fill_studies(
        store, learners=_LEARNERS, days=_DAYS, answers=_ANSWERS, fresh=_FRESH
    )
    last = datetime.combine(logs.last_day(), datetime.min.time(), UTC)
    moment = last - timedelta(days=_DAYS - 25_000 // 42)
    single, together = asyncio.run(_measure(store, learner, moment))
    yield limit_p95("asOf of a learner, of 25,000 events", single, _MAX_FIELD_MS)
    field, page = (sorted(times)[len(times) // 2] for times in (single, together))
    yield limit(
        "the page's fields at one past moment", page / field, _MAX_PAGE,
        shown=f"{page:.0f} ms", against=f"one field: {field:.0f} ms",
    )  # fmt: skip
    _append(store, learner)
    present, recent = asyncio.run(_measure_recent(store, learner))
    yield limit(
        "a streak after a snapshot and 126 later events", recent / present, _MAX_RECENT,
        shown=f"{recent:.2f} ms", against=f"the present: {present:.2f} ms",
    )  # fmt: skip
    server.drop(store)


def _append(store: Store, learner: str) -> None:
    """Append three sessions of 42 events, and fold them."""
    chance, begin = random.Random(1), datetime.now(UTC) - timedelta(hours=2)
    with closing(store.connect()) as connection:
        for number in range(3):
            at = begin + timedelta(minutes=10 * number)
            session = [*envelopes.session(learner, at, chance)]
            log.append(connection, [envelopes.delivery(session)])
        Projector(connection).catch_up_all()


async def _measure_recent(store: Store, learner: str) -> tuple[float, float]:
    """Return PostgreSQL's milliseconds for the streak at present, and for it as of now."""
    async with open_reader(store.url) as reader:
        queries = Queries(reader)
        return (
            await _measure_cpu(store, [lambda: queries.get_streak(learner)]),
            await _measure_cpu(
                store, [lambda: queries.get_streak(learner, as_of=datetime.now(UTC))]
            ),
        )


async def _measure_cpu(store: Store, fields: Fields) -> float:
    """Return PostgreSQL's milliseconds for the fields of a request: the median of the rounds."""
    milliseconds = []
    for number in range(_ROUNDS + 2):
        before = store.cpu_microseconds() if number > 1 else 0.0
        await _time(fields)
        if number > 1:
            milliseconds.append((store.cpu_microseconds() - before) / 1_000)
    return statistics.median(milliseconds)


def _fields(queries: Queries, learner: str, moment: datetime) -> Fields:
    """Return the queries of the page at this moment; the first three are measured alone, too."""
    days = (moment - timedelta(days=364)).date(), moment.date()
    past = Moment(moment, moment)
    return [
        lambda: queries.get_current_progress(learner, as_of=moment),
        lambda: queries.get_stats_range(learner, *days, as_of=moment),
        lambda: queries.get_streak(learner, as_of=moment),
        lambda: queries.get_weekly_stats(learner, *days, as_of=moment),
        lambda: queries.get_monthly_stats(learner, *days, as_of=moment),
        lambda: queries.get_domain_stats(learner, as_of=moment),
        lambda: queries.get_level_stats(learner, as_of=moment),
        lambda: queries.get_due_forecast(learner, 14, as_of=moment),
        lambda: queries.get_item_stats(learner, first=50, as_of=moment),
        lambda: queries.run(learner, rows.select_workload(past)),
        lambda: queries.run(learner, rows.select_goal(past)),
        lambda: queries.run(learner, rows.select_hourly_stats(past)),
        lambda: queries.run(learner, rows.select_retention(past, *days, PeriodLength.WEEK)),
        lambda: queries.run(learner, rows.select_rest_days(past, *days)),
    ]


async def _measure(store: Store, learner: str, moment: datetime) -> tuple[list[float], list[float]]:
    """Return the milliseconds of single fields, and of all fields; two rounds warm up."""
    single: list[float] = []
    together: list[float] = []
    async with open_reader(store.url) as reader:
        fields = _fields(Queries(reader), learner, moment)
        for number in range(_ROUNDS + 2):
            times = [await _time([field]) for field in fields[:3]]
            page = await _time(fields)
            if number > 1:
                single += times
                together.append(page)
    return single, together


async def _time(fields: Fields) -> float:
    begin = time.perf_counter()
    with request_scope.begin(60.0):
        await asyncio.gather(*(field() for field in fields))
    return 1_000 * (time.perf_counter() - begin)
