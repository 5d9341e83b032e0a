"""The local day of a moment, under a learner's preferences as they changed over time."""

import bisect
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

FindDay = Callable[[datetime], date]
FindPreference = Callable[[datetime], tuple[str, int]]


class Preference(msgspec.Struct, frozen=True):
    """The preferences that an event set at a time; None keeps the preceding value."""

    at: datetime
    event_id: UUID
    timezone: str | None
    day_start_hour: int | None


def find_day(at: datetime, zone: str, day_start_hour: int) -> date:
    """Return the date in the zone; a day begins at `day_start_hour` on the wall clock."""
    wall = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return (wall - timedelta(hours=day_start_hour)).date()


def follow(preferences: Iterable[Preference]) -> FindDay:
    find_preference = follow_preferences(preferences)
    return lambda at: find_day(at, *find_preference(at))


def follow_preferences(preferences: Iterable[Preference]) -> FindPreference:
    """Return a function that finds the zone and the start of the day at a time.

    At a time before all preferences, the first applies. Without preferences, days are those of UTC.
    """
    times, values = list[datetime](), list[tuple[str, int]]()
    zone, hour = "UTC", 0
    for each in sorted(preferences, key=lambda each: (each.at, each.event_id)):
        zone = each.timezone or zone
        hour = hour if each.day_start_hour is None else each.day_start_hour
        times.append(each.at.astimezone(UTC))
        values.append((zone, hour))

    def find(at: datetime) -> tuple[str, int]:
        place = max(bisect.bisect_right(times, at) - 1, 0)
        return values[place] if values else ("UTC", 0)

    return find
