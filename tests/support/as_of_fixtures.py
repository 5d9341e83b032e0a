"""Events of the learner ann, and as-of queries about her."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from progress.adapters.postgres.database import Connection
from progress.projections import batch, snapshots
from progress.projections.projector import SHARDS, Projector
from progress.projections.snapshots import Policy
from tests import oracle
from tests.support import model_rows, sample_events
from tests.support.api import QueryClient, plain
from tests.support.stage import append

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EVERY_EVENT = Policy(event_interval=1)
RANGE = (date(2024, 3, 1), date(2024, 6, 1))

NOTHING: list[Any] = [
    None,
    {
        **dict.fromkeys(("current", "longest"), 0),
        **dict.fromkeys(("longest_start", "longest_end", "last_study_date")),
        **dict.fromkeys(("active_today", "at_risk", "rest_today"), False),
    },
    [],
]


def event(kind: str, day: int, **data: Any) -> sample_events.Envelope:
    return sample_events.envelope(
        kind, {"user_id": "ann", **data}, at=sample_events.BEGIN + timedelta(days=day)
    )


def count_snapshots(connection: Connection) -> int:
    return int(connection.run("SELECT count(*) FROM event_store.snapshots")[0][0])


def record(connection: Connection, *events: sample_events.Envelope) -> None:
    """Append and fold the events, and take snapshots."""
    append(connection, list(events))
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    snapshots.take(connection, EVERY_EVENT)


def query_past(fetch: QueryClient, user: str = "ann", /, **moments: Any) -> list[Any]:
    """Return the learner's summary, streak and days for the given `as_of` and `known_at`."""
    return [
        plain(fetch(fetch.queries.get_current_progress(user, **moments))),
        plain(fetch(fetch.queries.get_streak(user, **moments))),
        [*map(plain, fetch(fetch.queries.get_stats_range(user, *RANGE, **moments)))],
    ]


def find_differences(fetch: QueryClient, connection: Connection, **moments: Any) -> list[str]:
    """Return a line for each result of `query_past` that differs from the oracle's."""
    world = oracle.see(model_rows.read_events(connection, "counted"), NOW, **moments)
    progress, streak, days = query_past(fetch, **moments)
    if progress:
        progress |= plain(progress.pop("mastery_stats")) or {}
    daily = [{"date": d, **row} for d, row in oracle.daily_stats(world, "ann").items()]
    wanted = [oracle.user_progress(world, "ann"), oracle.streak(world, "ann"), daily]
    pairs = zip((progress, streak, days), wanted, strict=True)
    return [f"found {answer}, expected {should}" for answer, should in pairs if answer != should]


def noon_of_day(day: int) -> datetime:
    return sample_events.BEGIN + timedelta(days=day, hours=12)
