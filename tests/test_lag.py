"""How far the projections are behind the log, and from when on that is critical."""

from datetime import UTC, datetime, timedelta

import lessons
import pytest
import rows
from asking import Asking

from progress import batch, readmodels
from progress.database import Connection
from progress.errors import ProjectionError

ALL = (
    "daily_stats",
    "item_stats",
    "learning_streaks",
    "user_progress",
    "weekly_stats",
    "domain_stats",
    "level_stats",
)


def test_lag_counts_the_events_that_are_not_folded(connection: Connection, ask: Asking) -> None:
    lessons.teach(connection, "ann")
    recorded = rows.ask(connection, "head")
    before = {name: ask(readmodels.check_lag(name)) for name in ALL}
    assert {lag.events_behind for lag in before.values()} == {recorded}
    batch.run(connection)
    after = {name: ask(readmodels.check_lag(name)) for name in ALL}
    assert {(lag.events_behind, lag.status) for lag in after.values()} == {(0, "NORMAL")}


def test_lag_is_critical_after_five_seconds_and_for_the_batch_after_ten_minutes(
    connection: Connection, ask: Asking
) -> None:
    lessons.teach(connection, "ann")
    for name, limit in (
        ("user_progress", timedelta(seconds=5)),
        ("level_stats", timedelta(minutes=10)),
    ):
        now = datetime.now(UTC)
        assert ask(readmodels.check_lag(name, at=now + limit)).status == "CRITICAL"
        assert ask(readmodels.check_lag(name, at=now - timedelta(days=1))).status == "NORMAL"


def test_there_is_no_lag_of_what_is_no_projection(ask: Asking) -> None:
    with pytest.raises(ProjectionError, match="no projection streaks"):
        ask(readmodels.check_lag("streaks"))
