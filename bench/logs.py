"""Let PostgreSQL generate event logs of many learners."""

from contextlib import closing
from datetime import UTC, datetime

from bench.server import Store
from bench.statements import blocks
from progress.adapters.postgres import database

SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def fill(
    store: Store, *, learners: int, sessions: int, seed: str = "a", since: datetime = SINCE
) -> int:
    """Write a log; return the number of events in the store.

    If a learner has fewer than nineteen sessions, one session may contain the same item more than
    once.
    """
    with closing(database.connect(store.url)) as connection:
        connection.run(
            blocks("seed")["log"], learners=learners, sessions=sessions, seed=seed, since=since
        )
        connection.run(blocks("seed")["settle"])
        count: int = connection.run("SELECT max(global_position) FROM event_store.events")[0][0]
    return count


def learners(store: Store, *, events: int) -> list[str]:
    """Return the learners with at least `events` events."""
    with closing(database.connect(store.url)) as connection:
        return [row[0] for row in connection.run(blocks("seed")["learners"], events=events)]
