"""The streak, user_progress, the due forecast, the workload and the goal."""

import math
import unicodedata
from collections.abc import Iterable
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple
from uuid import UUID

from tests.oracle.catalogue import catalogue, out_of_play
from tests.oracle.days import (
    answer_sums,
    counted_ms,
    daily_stats,
    day,
    day_of,
    days_with_rows,
    last_days,
    masteries,
    study_days,
    study_seconds,
    week,
)
from tests.oracle.events import (
    LEARNERS,
    Row,
    World,
    defines_by_learner,
    defines_field,
    ratio,
    rest_date,
)
from tests.oracle.items import item_stats, pairs, tally

DAY = timedelta(days=1)


class Run(NamedTuple):
    """A run of study days that only rest days interrupt; `study_days` counts the study days."""

    starts: date
    ends: date
    study_days: int


@defines_by_learner("rest_days")
def rest_days(world: World, user_id: str) -> dict[date, Row]:
    """Return an empty row for each rest day that counts: the two earliest in each ISO week."""
    weeks: dict[date, set[date]] = {}
    for event in world.of(user_id, "RestDayTaken"):
        taken = rest_date(event)
        assert taken
        weeks.setdefault(week(taken)[0], set()).add(taken)
    return {taken: {} for dates in weeks.values() for taken in sorted(dates)[:2]}


def only_rest_between(first: date, last: date, resting: Iterable[date]) -> bool:
    """Return whether all days between `first` and `last`, if there are any, are rest days."""
    return sum(first < day < last for day in resting) >= (last - first).days - 1


def runs(world: World, user_id: str) -> list[Run]:
    resting = rest_days(world, user_id).keys()
    found: list[Run] = []
    for studied in sorted(study_days(world, user_id)):
        if found and only_rest_between(found[-1].ends, studied, resting):
            found[-1] = Run(found[-1].starts, studied, found[-1].study_days + 1)
        else:
            found.append(Run(studied, studied, 1))
    return found


@defines_by_learner("learning_streaks")
def learning_streaks(world: World, user_id: str) -> dict[date, Row]:
    return {r.starts: {"ends": r.ends, "study_days": r.study_days} for r in runs(world, user_id)}


@defines_field
def streak(world: World, user_id: str) -> Row:
    today = day_of(world, user_id, world.now)
    all_runs = runs(world, user_id)
    resting = rest_days(world, user_id).keys()
    # On a tie, max() returns the first run, which is the earliest.
    longest = max(all_runs, key=lambda run: run.study_days, default=None)
    qualifying = [run for run in all_runs if only_rest_between(run.ends, today, resting)]
    current = qualifying[-1].study_days if qualifying else 0
    active = bool(qualifying) and qualifying[-1].ends >= today
    return {
        "current": current,
        "longest": longest.study_days if longest else 0,
        "longest_start": longest.starts if longest else None,
        "longest_end": longest.ends if longest else None,
        "last_study_date": all_runs[-1].ends if all_runs else None,
        "active_today": active,
        "at_risk": current > 0 and not active and today not in resting,
        "rest_today": today in resting,
    }


def streak_days(world: World, user_id: str, first: date, last: date) -> list[Row]:
    """Return each day from the first study day on, at most from `first` to `last`."""
    studied, resting = study_days(world, user_id), rest_days(world, user_id).keys()
    today, all_runs = day_of(world, user_id, world.now), runs(world, user_id)
    rows, found = daily_stats(world, user_id), []
    on = max(first, min(studied, default=date.max))
    while on <= last:
        is_rest = on in resting and on <= today
        of = [run for run in all_runs if run.starts <= on <= run.ends]
        # A rest day after the last run belongs to it, if it is the current one.
        if all_runs[-1].ends < on and is_rest and streak(world, user_id)["current"]:
            of = all_runs[-1:]
        kind = "STUDIED" if on in studied else "AHEAD" if on > today else "REST" if is_rest else ""
        row = rows.get(on, {"answers": 0, "sessions_completed": 0})
        found.append(
            {
                "date": on,
                "kind": kind or ("OPEN" if on == today else "MISSED"),
                "run": of[0].study_days if of and kind != "AHEAD" else 0,
                "answers": row["answers"],
                "sessions_completed": row["sessions_completed"],
            }
        )
        on += DAY
    return found


@defines_field
def user_progress(world: World, user_id: str) -> Row | None:
    known = world.of(user_id, *LEARNERS)
    if not known:
        return None
    items = item_stats(world, user_id)
    seconds = study_seconds(world, user_id, {*days_with_rows(world, user_id)})
    return {
        "user_id": user_id,
        "display_name": world.display_name(user_id),
        "total_items_learned": sum(1 for i in items.values() if i["correct_answers"] > 0),
        "total_sessions_completed": len(world.completions(user_id)),
        "total_study_time_minutes": seconds // 60,
        "current_streak": streak(world, user_id)["current"],
        "accuracy_rate": answer_sums(world.answers(user_id))["accuracy_rate"],
        "mastery_stats": {
            "unlearned": len(catalogue(world, pairs(world, user_id)) - items.keys()),
            **tally(item["mastery"] for item in items.values()),
        },
        "last_updated": max(e.created_at for e in known),
    }


@defines_by_learner("user_progress")
def progress_rows(world: World, user_id: str) -> dict[str, Row]:
    row = user_progress(world, user_id)
    mastered = {"items_mastered": len(masteries(world, user_id))}
    return {"": {**row, **row["mastery_stats"], **mastered}} if row else {}


@defines_by_learner("display_names")
def display_names(world: World, user_id: str) -> dict[str, Row]:
    if user_id in world.deleted or user_id not in world.named:
        return {}
    event = world.named[user_id]
    name = world.display_name(user_id)
    return {"": {"display_name": name, "named_at": event.occurred_at, "named_id": event.event_id}}


def due_forecast(world: World, user_id: str, days: int) -> dict[date, Row]:
    """Count the items due on each of `days` days from today; overdue items are counted today."""
    today = day_of(world, user_id, world.now)
    due_days = _due_days(world, user_id).values()
    return {
        on: {
            "items": sum(counted == on for counted, _ in due_days),
            "overdue": sum(counted == on and due < today for counted, due in due_days),
        }
        for on in (today + n * DAY for n in range(days))
    }


def due_today(world: World, user_id: str) -> set[str]:
    today = day_of(world, user_id, world.now)
    return {item_id for item_id, (day, _) in _due_days(world, user_id).items() if day == today}


def _due_days(world: World, user_id: str) -> dict[str, tuple[date, date]]:
    """Return the day on which each item counts in the forecast, and the item's due day."""
    today = day_of(world, user_id, world.now)
    days = {}
    hidden = out_of_play(world, user_id)
    for item_id, row in item_stats(world, user_id).items():
        if row["due_at"] is not None and item_id not in hidden:
            due_on = day_of(world, user_id, row["due_at"])
            has_passed = row["due_at"] <= world.now
            days[item_id] = (today if has_passed else max(today, due_on), due_on)
    return days


@defines_field
def workload(world: World, user_id: str) -> Row:
    """Return today's due items, and how long they take at the pace of the last 28 local days."""
    todays = next(iter(due_forecast(world, user_id, 1).values()))
    days = last_days(world, user_id, 28)
    times = counted_ms([e for e in world.answers(user_id) if day(world, e) in days])
    total, timed = sum(times), len(times)
    return {
        "due": todays["items"],
        "overdue": todays["overdue"],
        "seconds_per_answer": ratio(total, timed * 1000),
        "minutes": math.ceil(Fraction(todays["items"] * total, timed * 60_000)) if timed else None,
    }


@defines_by_learner("goals")
def goals(world: World, user_id: str) -> dict[UUID, Row]:
    return {
        e.event_id: {
            "occurred_at": e.occurred_at,
            "answers_per_day": e.data["answers_per_day"],
            "day": day(world, e),
        }
        for e in world.of(user_id, "GoalSet")
    }


def goal_on(world: World, user_id: str, local_day: date) -> int:
    set_by_then = [e for e in world.of(user_id, "GoalSet") if day(world, e) <= local_day]
    return set_by_then[-1].data["answers_per_day"] if set_by_then else 0


@defines_field
def goal(world: World, user_id: str) -> Row | None:
    today = day_of(world, user_id, world.now)
    if goal_on(world, user_id, today) == 0:
        return None
    rows = daily_stats(world, user_id)
    last_30_days = [today - n * DAY for n in range(30)]

    def answers(local_day: date) -> int:
        return rows[local_day]["answers"] if local_day in rows else 0

    met = [0 < goal_on(world, user_id, d) <= answers(d) for d in last_30_days]
    return {
        "answers_per_day": goal_on(world, user_id, today),
        "answers_today": answers(today),
        "days_met7": sum(met[:7]),
        "days_met30": sum(met),
        "week": met[6::-1],
        "study_days30": len(study_days(world, user_id).intersection(last_30_days)),
    }


def folded(value: str | None) -> str:
    """Return the text as a search compares it: composed, in lower case, a final sigma as sigma."""
    return unicodedata.normalize("NFC", value or "").lower().replace("ς", "σ")


def search_learners(world: World, text: str, first: int = 20) -> list[Row]:
    """Return known learners with `text` in the id or the display name, in any case.

    Order: the learner with exactly this id, ids and names that
    start with the text, the others; within these by name, learners without one last, then by id.
    """

    def key(row: Row) -> tuple[object, ...]:
        starts = folded(row["user_id"]).startswith(folded(text)) or (
            folded(row["display_name"]).startswith(folded(text))
        )
        name = row["display_name"]
        return row["user_id"] != text, not starts, name is None, name or "", row["user_id"]

    found = [
        {"user_id": user, "display_name": world.display_name(user)}
        for user in world.learners
        if world.of(user, *LEARNERS)
        and any(folded(text) in folded(part) for part in (user, world.display_name(user)))
    ]
    return sorted(found, key=key)[:first]
