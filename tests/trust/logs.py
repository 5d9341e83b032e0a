"""The logs of the claims: what a learner did in the reports, as events of this system.

For each log, a second function says in a few words what the learner sees.
"""

import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from progress.query.read_models import rows
from progress.query.read_models.rows import Moment, PeriodLength
from tests.oracle.days import zone
from tests.support.event_logs import Envelope
from tests.trust.place import Place

ANN = "ann"
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def wall(text: str, zone_name: str) -> datetime:
    """Return the time at which a clock in the zone shows `text`."""
    return datetime.fromisoformat(text).replace(tzinfo=zone(zone_name)).astimezone(UTC)


def event(kind: str, at: datetime, **data: Any) -> Envelope:
    """Return an event, of ann unless `data` names a learner; its id depends on its content."""
    content = f"{kind} {at.isoformat()} {sorted(data.items())}"
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, content)),
        "event_type": kind,
        "occurred_at": at.isoformat(),
        "data": {"user_id": ANN, **data},
    }


def live_in(zone_name: str, at: datetime, hour: int = 0) -> Envelope:
    """Return the preference event: from `at` on, ann's clock is that of the zone."""
    return event("UserPreferencesChanged", at, timezone=zone_name, day_start_hour=hour)


def study(
    at: datetime, *items: str, forgotten: Collection[str] = (), days: int = 3
) -> list[Envelope]:
    """Return a session that begins at `at`: an answer to each item, a minute apart.

    Each answer's review sets the interval `days`. The items in `forgotten` are answered wrong.
    """
    session = f"of {at.isoformat()}"
    made = [event("SessionStarted", at, session_id=session, item_count=len(items))]
    for n, item in enumerate(items):
        kind = "IncorrectAnswerGiven" if item in forgotten else "CorrectAnswerGiven"
        then = at + n * MINUTE
        made += [
            event(kind, then, session_id=session, item_id=item, response_time_ms=2_500),
            event("ReviewProcessed", then, item_id=item, new_interval=days, easiness_factor=2.5),
        ]
    end = at + len(items) * MINUTE
    seconds = 60 * len(items)
    return [
        *made,
        event("SessionCompleted", end, session_id=session, score=80, duration_seconds=seconds),
    ]


def dates(first: date, last: date) -> Iterator[date]:
    """Yield the dates from the first to the last, both included."""
    return (first + n * DAY for n in range((last - first).days + 1))


def study_before_five() -> list[Envelope]:
    """Study every day from July to November, on two days already between 4 and 5 o'clock.

    The two days, the zone, and the start of the day (4 o'clock) are those of the report.
    """
    log = [live_in("Europe/Paris", wall("2023-07-28T12:00", "Europe/Paris"), hour=4)]
    for day in dates(date(2023, 7, 29), date(2023, 11, 2)):
        is_early = day in (date(2023, 8, 2), date(2023, 10, 11))
        log += study(wall(f"{day}T{'04:20' if is_early else '19:00'}", "Europe/Paris"), "word")
    return log


def study_over_the_short_day() -> list[Envelope]:
    """Study every evening around 12 March 2023, which has 23 hours in New York."""
    log = [live_in("America/New_York", wall("2023-03-05T12:00", "America/New_York"))]
    for day in dates(date(2023, 3, 6), date(2023, 3, 24)):
        log += study(wall(f"{day}T20:00", "America/New_York"), "word", "verb")
    return log


def study_on_a_trip() -> list[Envelope]:
    """Study every day at home in Paris and on a trip to Tokyo, there early and late by turns."""
    home, away = "Europe/Paris", "Asia/Tokyo"
    log = [
        live_in(home, wall("2025-06-30T12:00", home)),
        live_in(away, wall("2025-07-09T18:00", away)),
        live_in(home, wall("2025-07-25T15:00", home)),
    ]
    for day in dates(date(2025, 7, 1), date(2025, 8, 6)):
        is_away = date(2025, 7, 9) <= day <= date(2025, 7, 24)
        clock = ("06:30" if day.day % 2 == 0 else "22:00") if is_away else "20:30"
        log += study(wall(f"{day}T{clock}", away if is_away else home), "word", "verb")
    return log


def see_empty_days(place: Place, now: datetime) -> str:
    return f"days without answers: {', '.join(_list_empty_days(place, now)) or 'none'}"


def see_streak(place: Place, now: datetime) -> str:
    streak = place.ask(place.queries.get_streak(ANN, at=now)).current
    return f"a streak of {streak} days, {len(_list_empty_days(place, now))} days without answers"


def _list_empty_days(place: Place, now: datetime) -> list[str]:
    """Return the days without answers, from the first to the last day with an answer."""
    query = place.queries.get_stats_range(ANN, now.date() - 200 * DAY, now.date(), at=now)
    found = [day.date for day in place.ask(query) if day.answers]
    return [day.isoformat() for day in dates(found[0], found[-1]) if day not in found]


def study_at_eleven() -> list[Envelope]:
    """Study at 11 p.m. in China on ten days, then move to Japan."""
    log = [
        live_in("Asia/Shanghai", wall("2022-08-31T12:00", "Asia/Shanghai")),
        live_in("Asia/Tokyo", wall("2022-09-11T12:00", "Asia/Tokyo")),
    ]
    for day in dates(date(2022, 9, 1), date(2022, 9, 10)):
        log += study(wall(f"{day}T23:00", "Asia/Shanghai"), "word", "verb")
    return log


def see_hours(place: Place, now: datetime) -> str:
    hours = place.ask(place.queries.run(ANN, rows.select_hourly_stats(Moment(now))))
    return ", ".join(f"answers at {row.hour} h: {row.answers}" for row in hours)


def set_intervals_by_hand() -> list[Envelope]:
    """Answer 20 items three days after they were learned; later, set five intervals by hand."""
    items = [f"w{n}" for n in range(20)]
    learned = datetime(2024, 9, 20, 18, tzinfo=UTC)
    by_hand = {"new_interval": 12, "easiness_factor": 2.5}
    return [
        *study(learned, *items),
        *study(learned + 3 * DAY, *items, forgotten=items[:3], days=7),
        *(event("ReviewProcessed", learned + 5 * DAY, item_id=i, **by_hand) for i in items[3:8]),
    ]


def see_retention(place: Place, now: datetime) -> str:
    september = date(2024, 9, 1), date(2024, 9, 30), PeriodLength.MONTH
    query = rows.select_retention(Moment(now), *september)
    (month,) = place.ask(place.queries.run(ANN, query))
    return f"recalled {month.young.recalled} of {month.young.asked}"
