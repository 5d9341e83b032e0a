"""The streak, user_progress and the due forecast."""

from datetime import date, timedelta

from tests.oracle.catalogue import archived, catalogue
from tests.oracle.days import answer_sums, completion_sums, day_of
from tests.oracle.events import LEARNERS, Row, World
from tests.oracle.items import item_stats
from tests.oracle.models import defines_by_learner
from tests.oracle.periods import study_days

Run = tuple[date, date]
DAY = timedelta(days=1)


def runs(world: World, user_id: str) -> list[Run]:
    """Return the first and last day of each run of consecutive study days, oldest run first."""
    days = study_days(world, user_id)
    starts = sorted(d for d in days if d - DAY not in days)
    ends = sorted(d for d in days if d + DAY not in days)
    return list(zip(starts, ends, strict=True))


@defines_by_learner("learning_streaks")
def learning_streaks(world: World, user_id: str) -> dict[date, Row]:
    """Return the learner's runs, keyed by first day."""
    return {starts: {"ends": ends} for starts, ends in runs(world, user_id)}


def length(run: Run) -> int:
    """Return the number of days in the run."""
    return (run[1] - run[0]).days + 1


def streak(world: World, user_id: str) -> Row:
    """Return the streak at the time of the query."""
    today = day_of(world, user_id, world.now)
    all_runs = runs(world, user_id)
    # On a tie max() returns the first run, which is the earliest.
    longest = max(all_runs, key=length, default=None)
    qualifying = [run for run in all_runs if run[1] >= today - DAY]
    current = length(qualifying[-1]) if qualifying else 0
    active = bool(qualifying) and qualifying[-1][1] >= today
    return {
        "current": current,
        "longest": length(longest) if longest else 0,
        "longest_start": longest[0] if longest else None,
        "longest_end": longest[1] if longest else None,
        "last_study_date": all_runs[-1][1] if all_runs else None,
        "active_today": active,
        "at_risk": current > 0 and not active,
    }


def user_progress(world: World, user_id: str) -> Row | None:
    """Return the learner's summary; None if the learner is deleted or has no known events."""
    known = world.of(user_id, *LEARNERS)
    if not known:
        return None
    items = item_stats(world, user_id)
    completed = completion_sums(world.completions(user_id))
    return {
        "user_id": user_id,
        "total_items_learned": sum(1 for i in items.values() if i["correct_answers"] > 0),
        "total_sessions_completed": completed["sessions_completed"],
        "total_study_time_minutes": completed["study_time_minutes"],
        "current_streak": streak(world, user_id)["current"],
        "accuracy_rate": answer_sums(world.answers(user_id))["accuracy_rate"],
        "unlearned": len(catalogue(world) - items.keys()),
        "learning": sum(1 for i in items.values() if i["mastery"] == "LEARNING"),
        "short_term_mastered": sum(1 for i in items.values() if i["mastery"] == "SHORT_TERM"),
        "long_term_mastered": sum(1 for i in items.values() if i["mastery"] == "LONG_TERM"),
        "last_updated": max(e.created_at for e in known),
    }


@defines_by_learner("user_progress")
def progress_rows(world: World, user_id: str) -> dict[str, Row]:
    """Return the learner's row under an empty key; nothing if the learner has no row."""
    row = user_progress(world, user_id)
    return {"": row} if row else {}


def due_forecast(world: World, user_id: str, days: int) -> dict[date, int]:
    """Return the number of items due on each of the next days; overdue items are due today."""
    today = day_of(world, user_id, world.now)
    forecast = {today + n * DAY: 0 for n in range(days)}
    for item_id, row in item_stats(world, user_id).items():
        if row["due_at"] is None or item_id in archived(world):
            continue
        is_overdue = row["due_at"] <= world.now
        due_on = today if is_overdue else max(today, day_of(world, user_id, row["due_at"]))
        if due_on in forecast:
            forecast[due_on] += 1
    return forecast
