"""The oracle's local days are those that the rules of the zones give."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from tests import oracle


@pytest.mark.parametrize(
    ("name", "hour", "at", "expected"),
    [
        ("UTC", 0, "2024-01-31T23:59:59.999999", date(2024, 1, 31)),
        ("UTC", 4, "2024-03-01T03:59:59", date(2024, 2, 29)),
        ("Asia/Kathmandu", 0, "2024-01-01T18:15:00", date(2024, 1, 2)),
        ("Asia/Kathmandu", 0, "2024-01-01T18:14:59", date(2024, 1, 1)),
        # Apia skipped 30 December 2011.
        ("Pacific/Apia", 0, "2011-12-30T09:59:59", date(2011, 12, 29)),
        ("Pacific/Apia", 0, "2011-12-30T10:00:00", date(2011, 12, 31)),
        # The clock moves from 2 to 3 on this day, so it shows 4 three hours after midnight.
        ("America/New_York", 4, "2024-03-10T07:59:59", date(2024, 3, 9)),
        ("America/New_York", 4, "2024-03-10T08:00:00", date(2024, 3, 10)),
        # In the pinned rules, British Columbia stays on summer time from 2026.
        ("America/Vancouver", 2, "2026-11-01T09:00:00", date(2026, 11, 1)),
    ],
)
def test_the_local_day_follows_the_zone_and_the_day_start(
    name: str, hour: int, at: str, expected: date
) -> None:
    early, data = datetime(2000, 1, 1, tzinfo=UTC), {"timezone": name, "day_start_hour": hour}
    event = oracle.Event(UUID(int=1), "UserCreated", data, early, early, "ann")
    seen = oracle.see([event], early)
    assert oracle.day_of(seen, "ann", datetime.fromisoformat(at).replace(tzinfo=UTC)) == expected
