"""Fill a store with learners who study every day, and fold their events."""

import functools
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

from bench import logs
from bench.server import Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.projections import batch, rebuild

_ITEMS = 5_000  # in the catalogue


def last_day() -> date:
    """Return yesterday, which is the last day of study."""
    return datetime.now(UTC).date() - timedelta(days=1)


def fill(
    store: Store, *, learners: int, days: int, answers: int, fresh: int, items: int = _ITEMS
) -> list[str]:
    """Record and fold events of learners with `fresh` new items a day; return the learners' ids."""
    until = datetime.combine(last_day(), time(12), UTC)
    size = {"learners": learners, "days": days, "answers": answers, "fresh": fresh}
    with closing(database.connect(store.url)) as connection:
        connection.run(blocks("study")["catalogue"], items=items, until=until)
        connection.run(blocks("study")["log"], until=until, **size)
        connection.run(blocks("study")["settle"])
    rebuild.run(functools.partial(database.connect, store.url))
    with closing(store.connect()) as connection:
        batch.run(connection)
        connection.run(blocks("study")["settle"])
    return logs.learners(store, events=1)
