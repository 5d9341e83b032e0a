"""What ann did in a test, and what is answered about her past."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import lessons
import oracle
import rows
from asking import Asking, plain
from stage import append

from progress import batch, readmodels, snapshots
from progress.database import Connection
from progress.projections import SHARDS, Projector
from progress.snapshots import Policy

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EACH = Policy(event_interval=1)
RANGE = (date(2024, 3, 1), date(2024, 6, 1))

NOTHING: list[Any] = [
    None,
    {
        **dict.fromkeys(("current", "longest"), 0),
        **dict.fromkeys(("longest_start", "longest_end", "last_study_date")),
        **dict.fromkeys(("active_today", "at_risk"), False),
    },
    [],
]


def event(kind: str, day: int, **data: Any) -> lessons.Envelope:
    return lessons.envelope(
        kind, {"user_id": "ann", **data}, at=lessons.BEGIN + timedelta(days=day)
    )


def kept(connection: Connection) -> int:
    return int(connection.run("SELECT count(*) FROM event_store.snapshots")[0][0])


def told(connection: Connection, *events: lessons.Envelope) -> None:
    """Recorded, folded, and snapshots taken."""
    append(connection, list(events))
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    snapshots.take(connection, EACH)


def answered(ask: Asking, user: str = "ann", /, **moments: Any) -> list[Any]:
    """The learner's standing, streak and days at the moment."""
    return [
        plain(ask(readmodels.get_current_progress(user, **moments))),
        plain(ask(readmodels.get_streak(user, **moments))),
        [*map(plain, ask(readmodels.get_stats_range(user, *RANGE, **moments)))],
    ]


def wrong(ask: Asking, connection: Connection, **moments: Any) -> list[str]:
    """Where the answers are not the oracle's."""
    world = oracle.see(rows.stored(connection, "counted"), NOW, **moments)
    progress, streak, days = answered(ask, **moments)
    if progress:
        progress |= plain(progress.pop("mastery_stats")) or {}
    daily = [{"date": d, **row} for d, row in oracle.daily_stats(world, "ann").items()]
    wanted = [oracle.user_progress(world, "ann"), oracle.streak(world, "ann"), daily]
    pairs = zip((progress, streak, days), wanted, strict=True)
    return [f"found {found}, expected {should}" for found, should in pairs if found != should]


def later(day: int) -> datetime:
    return lessons.BEGIN + timedelta(days=day, hours=12)
