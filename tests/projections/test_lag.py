"""The lag of the projections, and the limits at which the lag is critical."""

from datetime import UTC, datetime, timedelta

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError
from progress.projections import batch
from progress.projections.schema import BATCH, REALTIME
from tests.support import model_rows, sample_events
from tests.support.api import QueryClient

REPORTED = [model.name for model in (*REALTIME, *BATCH) if model.field]


def test_lag_counts_the_events_that_are_not_folded(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann")
    recorded = model_rows.read_value(connection, "head")
    before = {name: fetch(fetch.queries.check_lag(name)) for name in REPORTED}
    assert {lag.events_behind for lag in before.values()} == {recorded}
    batch.run(connection)
    after = {name: fetch(fetch.queries.check_lag(name)) for name in REPORTED}
    assert {(lag.events_behind, lag.status) for lag in after.values()} == {(0, "NORMAL")}


def test_realtime_lag_is_critical_after_five_seconds_and_batch_lag_after_ten_minutes(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann")
    for name, limit in (
        ("user_progress", timedelta(seconds=5)),
        ("level_stats", timedelta(minutes=10)),
    ):
        now = datetime.now(UTC)
        assert fetch(fetch.queries.check_lag(name, at=now + limit)).status == "CRITICAL"
        assert fetch(fetch.queries.check_lag(name, at=now - timedelta(days=1))).status == "NORMAL"


def test_the_limits_of_the_lag_are_settings(
    connection: Connection, fetch: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_events.record_lessons(connection, "ann")
    now = datetime.now(UTC)
    for limits, status in (
        ({"MAX_LAG_EVENTS": "1", "MAX_LAG_SECONDS": "1000"}, "CRITICAL"),
        ({"MAX_LAG_SECONDS": "1000"}, "NORMAL"),
        ({"MAX_LAG_SECONDS": "10"}, "CRITICAL"),
    ):
        made = settings.read(limits)
        monkeypatch.setattr(settings, "current", lambda made=made: made)
        lag = fetch(fetch.queries.check_lag("user_progress", at=now + timedelta(seconds=60)))
        assert lag.status == status
    made = settings.Settings(max_lag_batch_seconds=30)
    monkeypatch.setattr(settings, "current", lambda: made)
    lag = fetch(fetch.queries.check_lag("level_stats", at=now + timedelta(seconds=60)))
    assert lag.status == "CRITICAL"


def test_the_lag_of_an_unknown_projection_is_an_error(fetch: QueryClient) -> None:
    with pytest.raises(ProjectionError, match="no projection streaks"):
        fetch(fetch.queries.check_lag("streaks"))
