"""Read model queries: edge cases that generated logs rarely contain."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from progress.adapters.postgres import database
from tests import oracle
from tests.support import rows_by_hand
from tests.support.api import QueryClient

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_monthly_stats_include_every_day_of_the_month(
    connection: database.Connection, fetch: QueryClient
) -> None:
    days = ("2024-01-01", "2024-01-31", "2024-02-29", "2024-03-01")
    rows_by_hand.insert(
        connection, "daily_stats", *({"user_id": "ann", "day": d, "answers": 1} for d in days)
    )
    rows = fetch(fetch.queries.get_monthly_stats("ann", date(2024, 1, 1), date(2024, 2, 1)))
    assert [(month.start, month.end, month.answers) for month in rows] == [
        (date(2024, 1, 1), date(2024, 1, 31), 2),
        (date(2024, 2, 1), date(2024, 2, 29), 1),
    ]
    assert fetch(fetch.queries.get_monthly_stats("ann", date(2024, 1, 2), date(2024, 1, 31))) == []


def test_overdue_items_are_due_today(connection: database.Connection, fetch: QueryClient) -> None:
    """A minute after the query, the learner crosses the date line; the local date goes back a day.

    The item falls due another minute later. Its local due day is therefore the day before today.
    """
    turn = NOON + MINUTE
    east = {"starts_at": "-infinity", "ends_at": turn, "timezone": "Pacific/Kiritimati"}
    west = {"starts_at": turn, "ends_at": "infinity", "timezone": "Pacific/Pago_Pago"}
    for zone in (east, west):
        rows_by_hand.insert(
            connection, "zones_in_force", {"user_id": "ann", "day_start": "0", **zone}
        )
    due = {"reviewed_at": NOON + 2 * MINUTE - timedelta(days=1), "interval_days": 1}
    rows_by_hand.insert(connection, "item_stats", {"user_id": "ann", "item_id": "i", **due})
    forecast = fetch(fetch.queries.get_due_forecast("ann", 2, at=NOON))
    assert [(day.date, day.items) for day in forecast] == [
        (date(2024, 3, 11), 1),
        (date(2024, 3, 12), 0),
    ]


def test_a_streak_that_ends_on_a_future_local_day_is_current(
    connection: database.Connection, fetch: QueryClient
) -> None:
    """The learner studied in another time zone, in which the local date was later than today."""
    runs = [("2024-03-05", "2024-03-09", 5), ("2024-03-11", "2024-03-12", 2)]
    rows_by_hand.insert(
        connection,
        "learning_streaks",
        *(
            {"user_id": "ann", "starts": starts, "ends": ends, "study_days": study_days}
            for starts, ends, study_days in runs
        ),
    )
    streak = fetch(fetch.queries.get_streak("ann", at=NOON))
    assert (streak.current, streak.longest, streak.active_today, streak.at_risk) == (
        2,
        5,
        True,
        False,
    )
    assert streak.last_study_date == date(2024, 3, 12)
    later = [fetch(fetch.queries.get_streak("ann", at=NOON + timedelta(days=n))) for n in (3, 4)]
    assert [(s.current, s.active_today, s.at_risk) for s in later] == [
        (2, False, True),
        (0, False, False),
    ]


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    counts=st.tuples(st.integers(1, 9_000), st.integers(0, 9_000)),
    recent=st.lists(st.tuples(st.integers(-1, 29), st.integers(1, 30)), max_size=4),
)
@example(counts=(5, 4), recent=[])
@example(counts=(5, 3), recent=[(0, 10)])
@example(counts=(1629, 0), recent=[(0, 10)])
@example(counts=(1631, 0), recent=[(0, 10)])
def test_the_forecast_of_a_level_is_computed_in_integers(
    connection: database.Connection,
    fetch: QueryClient,
    counts: tuple[int, int],
    recent: list[tuple[int, int]],
) -> None:
    """`counts` has two numbers: the level's items, and those that the learner has mastered.

    Each pair in `recent` has a number of days before today, and the number of items that the
    learner mastered on that day.
    """
    connection.run(rows_by_hand.blocks()["empty levels"])
    level = {"kind": "level", "name": "B1"}
    share = {**level, "user_id": "ann", "mastered_in_catalogue": counts[1]}
    rows_by_hand.insert(connection, "catalogue_counts", {**level, "items": counts[0]})
    rows_by_hand.insert(connection, "catalogue_shares", share)
    days = {NOON.date() - timedelta(days=ago): items for ago, items in recent}
    rows_by_hand.insert(
        connection,
        "mastery_days",
        *({"user_id": "ann", "level": "B1", "day": d, "items": n} for d, n in days.items()),
    )
    (row,) = fetch(fetch.queries.get_level_stats("ann", at=NOON))
    counted = sum(n for d, n in days.items() if 0 <= (NOON.date() - d).days < 28)
    expected = oracle.forecast(NOON.date(), *counts, counted)
    assert {name: getattr(row, name) for name in expected} == expected
