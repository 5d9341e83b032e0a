"""Let PostgreSQL generate event logs of many learners."""

import functools
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

from bench.server import Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.projections import batch, rebuild

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
_ITEMS = 5_000  # in the catalogue


def fill(
    store: Store,
    *,
    learners: int,
    sessions: int,
    answers: int = 20,
    fresh: int = 2,
    items: int = _ITEMS,
    seed: str = "a",
    since: datetime = SINCE,
) -> None:
    """Write a log of sessions with `fresh` new items each."""
    sizes = {"learners": learners, "sessions": sessions, "answers": answers, "fresh": fresh}
    with closing(database.connect(store.url)) as connection:
        connection.run(blocks("logs")["log"], **sizes, items=items, seed=seed, since=since)
        connection.run(blocks("logs")["settle"])


def last_day() -> date:
    """Return yesterday, which is the last day of study."""
    return datetime.now(UTC).date() - timedelta(days=1)


def fill_studies(
    store: Store, *, learners: int, days: int, answers: int, fresh: int, items: int = _ITEMS
) -> list[str]:
    """Record and fold events of learners with `fresh` new items a day; return the learners' ids."""
    since = datetime.combine(last_day() - timedelta(days=days - 1), time(), UTC)
    with closing(database.connect(store.url)) as connection:
        connection.run(blocks("logs")["catalogue"], items=items, until=since)
    fill(
        store, learners=learners, sessions=days, answers=answers, fresh=fresh, items=items,
        since=since,
    )  # fmt: skip
    rebuild.run(functools.partial(database.connect, store.url))
    with closing(store.connect()) as connection:
        batch.run(connection)
        connection.run(blocks("logs")["skip publication"])
        connection.run(blocks("logs")["settle"])
    return list_learners(store, events=1)


def list_learners(store: Store, *, events: int) -> list[str]:
    with closing(database.connect(store.url)) as connection:
        return [row[0] for row in connection.run(blocks("logs")["learners"], events=events)]
