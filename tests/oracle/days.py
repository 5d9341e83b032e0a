"""Local days, and what a learner did on each."""

import functools
import importlib.resources
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.oracle.events import PREFERENCES, Event, Row, World, only, ratio
from tests.oracle.models import defines_by_learner


@functools.cache
def zone(name: str) -> ZoneInfo:
    """The zone by the pinned tzdata package, whatever the machine's own tables say."""
    source = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with source.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def preference(world: World, user_id: str, moment: datetime) -> tuple[str, int]:
    """The zone and the hour in force at the moment."""
    said = world.of(user_id, *PREFERENCES)
    before = [e for e in said if e.occurred_at <= moment]
    governing = before[-1] if before else said[0] if said else None
    name, hour = "UTC", 0
    for event in said:
        if governing is None or event.when > governing.when:
            break
        if event.data.get("timezone") is not None:
            name = event.data["timezone"]
        if event.data.get("day_start_hour") is not None:
            hour = event.data["day_start_hour"]
    return name, hour


def day_of(world: World, user_id: str, moment: datetime) -> date:
    """The learner's local day at the moment: the wall clock there, some hours back."""
    name, hour = preference(world, user_id, moment)
    wall = moment.astimezone(zone(name)).replace(tzinfo=None)
    return (wall - timedelta(hours=hour)).date()


def day(world: World, event: Event) -> date:
    """The local day of an event of a learner."""
    assert event.user_id is not None
    return day_of(world, event.user_id, event.occurred_at)


def firsts(events: list[Event]) -> list[Event]:
    """The first of the events for each item."""
    return [e for e in events if e == only(events, e.data["item_id"])[0]]


def masteries(world: World, user_id: str) -> list[Event]:
    """For each item the first review with an interval of a week or more."""
    return firsts([e for e in world.reviews(user_id) if e.data["new_interval"] >= 7])


def answer_sums(answers: list[Event]) -> Row:
    """The fields that add up answers."""
    correct = [e for e in answers if e.type == "CorrectAnswerGiven"]
    waited = sum(e.data["response_time_ms"] for e in answers)
    return {
        "answers": len(answers),
        "correct_answers": len(correct),
        "accuracy_rate": ratio(len(correct), len(answers)),
        "average_response_ms": ratio(waited, len(answers)),
    }


def completion_sums(completions: list[Event]) -> Row:
    """The fields that add up completed sessions."""
    seconds = sum(e.data["duration_seconds"] for e in completions)
    return {
        "sessions_completed": len(completions),
        "study_seconds": seconds,
        "study_time_minutes": seconds // 60,
        "average_score": ratio(sum(e.data["score"] for e in completions), len(completions)),
    }


def reviewed_later(world: World, user_id: str, answers: list[Event]) -> int:
    """How many items were answered among these on a day after the day of their first answer."""
    first_days = {e.data["item_id"]: day(world, e) for e in firsts(world.answers(user_id))}
    return len(
        {e.data["item_id"] for e in answers if first_days[e.data["item_id"]] < day(world, e)}
    )


def stats_of(world: World, user_id: str, days: set[date]) -> Row:
    """What the learner did on these days, in the fields that days, weeks and months share."""

    def on(events: list[Event]) -> list[Event]:
        return [e for e in events if day(world, e) in days]

    answers = on(world.answers(user_id))
    return {
        **answer_sums(answers),
        **completion_sums(on(world.completions(user_id))),
        "items_learned": len(on(firsts(world.correct(user_id)))),
        "items_reviewed": reviewed_later(world, user_id, answers),
        "new_mastery_count": len(on(masteries(world, user_id))),
    }


def days_with_rows(world: World, user_id: str) -> list[date]:
    """The days with an answer, a completed session or a review."""
    did = world.answers(user_id) + world.completions(user_id) + world.reviews(user_id)
    return sorted({day(world, e) for e in did})


@defines_by_learner("daily_stats")
def daily_stats(world: World, user_id: str) -> dict[date, Row]:
    """The learner's rows by day."""
    return {d: stats_of(world, user_id, {d}) for d in days_with_rows(world, user_id)}
