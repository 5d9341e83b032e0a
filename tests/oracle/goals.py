"""Goals: the answers per day that a learner aims at."""

from datetime import date, timedelta
from uuid import UUID

from tests.oracle.days import daily_stats, day, day_of
from tests.oracle.events import Row, World
from tests.oracle.models import defines_by_learner
from tests.oracle.periods import study_days


@defines_by_learner("goals")
def goals(world: World, user_id: str) -> dict[UUID, Row]:
    """Return the learner's goals, keyed by event."""
    return {
        e.event_id: {
            "occurred_at": e.occurred_at,
            "answers_per_day": e.data["answers_per_day"],
        }
        for e in world.of(user_id, "GoalSet")
    }


def goal_on(world: World, user_id: str, local_day: date) -> int:
    """Return the goal in force on the local day; 0 if there is none."""
    set_by_then = [e for e in world.of(user_id, "GoalSet") if day(world, e) <= local_day]
    return set_by_then[-1].data["answers_per_day"] if set_by_then else 0


def goal(world: World, user_id: str) -> Row | None:
    """Return today's goal and the numbers of days with a met goal.

    Return None if no goal is in force today.
    """
    today = day_of(world, user_id, world.now)
    if goal_on(world, user_id, today) == 0:
        return None
    rows = daily_stats(world, user_id)
    last_30_days = [today - timedelta(days=n) for n in range(30)]

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
