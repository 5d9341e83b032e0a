"""Sums by day, week, month and hour, in the local time of each learner."""

import calendar
import functools
import importlib.resources
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tests.oracle.events import (
    PREFERENCES,
    Event,
    Row,
    World,
    answer_ms,
    defines_by_learner,
    grade,
    interval_days,
    only,
    ratio,
)


@functools.cache
def zone(name: str) -> ZoneInfo:
    """Return the zone from the pinned tzdata package, not from the machine."""
    source = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with source.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def preference(world: World, user_id: str, moment: datetime) -> tuple[str, int]:
    """Return the zone and day_start_hour that apply at this time.

    They come from the latest preference event at or before this time. If all preference events are
    later, they come from the earliest one. Without preference events, they are UTC and 0. An event
    that omits a field leaves the field's value unchanged.
    """
    preferences = world.of(user_id, *PREFERENCES)
    before = [e for e in preferences if e.occurred_at <= moment]
    governing = before[-1] if before else preferences[0] if preferences else None
    name, hour = "UTC", 0
    for event in preferences:
        if governing is None or event.when > governing.when:
            break
        if event.data.get("timezone") is not None:
            name = event.data["timezone"]
        if event.data.get("day_start_hour") is not None:
            hour = event.data["day_start_hour"]
    return name, hour


def day_of(world: World, user_id: str, moment: datetime) -> date:
    """Return the local date at this time; a local day starts at day_start_hour."""
    name, hour = preference(world, user_id, moment)
    wall_clock = moment.astimezone(zone(name)).replace(tzinfo=None)
    return (wall_clock - timedelta(hours=hour)).date()


def day_start(world: World, user_id: str, day: date) -> datetime:
    """Return the first time at which the local day is this day or a later one.

    Offsets are multiples of 15 minutes, so a day begins at such a time or at a preference event.
    """
    midnight = datetime.combine(day, time(), UTC)
    times = [midnight + timedelta(minutes=15 * n) for n in range(-24 * 4, 48 * 4)]
    times += [event.occurred_at for event in world.of(user_id, *PREFERENCES)]
    return next(t for t in sorted(times) if t >= times[0] and day_of(world, user_id, t) >= day)


def last_days(world: World, user_id: str, count: int) -> set[date]:
    return _days_until(day_of(world, user_id, world.now), count)


@functools.cache
def _days_until(last: date, count: int) -> set[date]:
    return {last - timedelta(days=n) for n in range(count)}


def day(world: World, event: Event) -> date:
    assert event.user_id is not None
    return day_of(world, event.user_id, event.occurred_at)


def firsts(events: list[Event]) -> list[Event]:
    return [e for e in events if e == only(events, e.data["item_id"])[0]]


def masteries(world: World, user_id: str) -> list[Event]:
    return firsts([e for e in world.reviews(user_id) if interval_days(e) >= 7])


def answer_sums(answers: list[Event]) -> Row:
    correct = [e for e in answers if grade(e) >= 2]
    times = counted_ms(answers)
    return {
        "answers": len(answers),
        "correct_answers": len(correct),
        "accuracy_rate": ratio(len(correct), len(answers)),
        "average_response_ms": ratio(sum(times), len(times)),
    }


def study_seconds(world: World, user_id: str, days: set[date]) -> int:
    """Return the seconds of completed sessions, and of each day's answers without a session."""
    completions = [e for e in world.completions(user_id) if day(world, e) in days]
    alone = [e for e in world.answers(user_id) if e.data.get("session_id") is None]
    return sum(min(e.data.get("duration_seconds") or 0, 14_400) for e in completions) + sum(
        sum(counted_ms([e for e in alone if day(world, e) == one])) // 1000 for one in days
    )


def completion_sums(completions: list[Event]) -> Row:
    scores = [s for e in completions if (s := e.data.get("score")) is not None]
    return {
        "sessions_completed": len(completions),
        "average_score": ratio(sum(scores), len(scores)),
    }


def reviewed_later(world: World, user_id: str, answers: list[Event]) -> int:
    first_days = {e.data["item_id"]: day(world, e) for e in firsts(world.answers(user_id))}
    return len(
        {e.data["item_id"] for e in answers if first_days[e.data["item_id"]] < day(world, e)}
    )


def stats_of(world: World, user_id: str, days: set[date]) -> Row:
    """Return the fields that daily, weekly and monthly rows share, computed over these days."""

    def on(events: list[Event]) -> list[Event]:
        return [e for e in events if day(world, e) in days]

    answers = on(world.answers(user_id))
    seconds = study_seconds(world, user_id, days)
    return {
        **answer_sums(answers),
        **completion_sums(on(world.completions(user_id))),
        "study_seconds": seconds,
        "study_time_minutes": seconds // 60,
        "items_learned": len(on(firsts(world.correct(user_id)))),
        "items_reviewed": reviewed_later(world, user_id, answers),
        "reviews": len(on(world.reviews(user_id))),
        "new_mastery_count": len(on(masteries(world, user_id))),
    }


def days_with_rows(world: World, user_id: str) -> list[date]:
    events = world.answers(user_id) + world.completions(user_id) + world.reviews(user_id)
    return sorted({day(world, e) for e in events})


def counted_ms(answers: list[Event]) -> list[int]:
    times = [answer_ms(e) for e in answers]
    return [min(time, 60_000) for time in times if time is not None]


@defines_by_learner("daily_stats")
def daily_stats(world: World, user_id: str) -> dict[date, Row]:
    return {d: stats_of(world, user_id, {d}) for d in days_with_rows(world, user_id)}


def hour(world: World, answer: Event) -> int:
    """Return the hour of an answer in the learner's zone at that time, ignoring day_start_hour."""
    assert answer.user_id is not None
    name, _ = preference(world, answer.user_id, answer.occurred_at)
    return answer.occurred_at.astimezone(zone(name)).hour


@defines_by_learner("hourly_stats")
def hourly_stats(world: World, user_id: str) -> dict[int, Row]:
    answers = world.answers(user_id)
    hours = sorted({hour(world, answer) for answer in answers})
    return {
        h: {"hour": h, **answer_sums([a for a in answers if hour(world, a) == h])} for h in hours
    }


Period = tuple[date, date]


def week(day: date) -> Period:
    """Return the Monday and the Sunday of the day's ISO week."""
    monday = day - timedelta(days=day.isoweekday() - 1)
    return monday, monday + timedelta(days=6)


def month(day: date) -> Period:
    return day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1])


def curve_weeks(
    world: World, user_id: str, events: list[Event], first: date, last: date
) -> Iterator[tuple[date, date, date]]:
    """Yield each week from the first event, with a Monday from `first` to `last`.

    A week has its Monday, its last day, and the last day that counts: today, and all later days.
    """
    today = day_of(world, user_id, world.now)
    monday = week(min(day(world, event) for event in events))[0] if events else date.max
    while monday <= week(today)[0]:
        end = week(monday)[1]
        if first <= monday <= last:
            yield (monday, today, date.max) if end >= today else (monday, end, end)
        monday += timedelta(days=7)


@defines_by_learner("weekly_stats")
def weekly_rows(world: World, user_id: str) -> dict[date, Row]:
    """Return the rows of the table; unlike `weeklyStats`, the table has no `slipped_back`."""
    return _periods(world, user_id, week)


def weekly_stats(world: World, user_id: str) -> dict[date, Row]:
    return _with_slipped_back(world, user_id, week)


def monthly_stats(world: World, user_id: str) -> dict[date, Row]:
    return _with_slipped_back(world, user_id, month)


def _with_slipped_back(
    world: World, user_id: str, period: Callable[[date], Period]
) -> dict[date, Row]:
    """Add the items whose interval fell below 7 days in the period and is below 7 days now."""
    falls = {(e.data["item_id"], period(day(world, e))[0]) for e in _falls(world, user_id)}
    return {
        start: {**row, "slipped_back": sum(on == start for _, on in falls)}
        for start, row in _periods(world, user_id, period).items()
    }


def _falls(world: World, user_id: str) -> list[Event]:
    """Return the reviews by which an interval fell below 7 days, of items that are below it now."""
    reviews = [
        only(world.reviews(user_id), e.data["item_id"]) for e in firsts(world.reviews(user_id))
    ]
    return [
        later
        for chain in reviews
        for former, later in itertools.pairwise(chain)
        if interval_days(former) >= 7 > max(interval_days(later), interval_days(chain[-1]))
    ]


def items_on(world: World, user_id: str, name: str, first: date, last: date) -> set[str]:
    """Return the items that a dated filter lists for the days from `first` to `last`."""
    events = {
        "ANSWERED": world.answers(user_id),
        "MISSED": [e for e in world.answers(user_id) if grade(e) < 2],
        "NEWLY_MASTERED": masteries(world, user_id),
        "SLIPPED_BACK": _falls(world, user_id),
    }[name]
    return {e.data["item_id"] for e in events if first <= day(world, e) <= last}


def _periods(world: World, user_id: str, period: Callable[[date], Period]) -> dict[date, Row]:
    rows = days_with_rows(world, user_id)
    return {
        start: {
            "start": start,
            "end": end,
            "active_days": len(
                study_days(world, user_id) & {d for d in rows if period(d)[0] == start}
            ),
            **stats_of(world, user_id, {d for d in rows if period(d)[0] == start}),
        }
        for start, end in sorted({period(d) for d in rows})
    }


def study_days(world: World, user_id: str) -> set[date]:
    return {day(world, e) for e in world.answers(user_id) + world.completions(user_id)}
