"""Answers by the hour of the learner's wall clock."""

from tests.oracle.days import answer_sums, preference, zone
from tests.oracle.events import Event, Row, World
from tests.oracle.models import defines_by_learner


def hour(world: World, answer: Event) -> int:
    """Return the hour of an answer in the learner's zone at that time, ignoring day_start_hour."""
    assert answer.user_id is not None
    name, _ = preference(world, answer.user_id, answer.occurred_at)
    return answer.occurred_at.astimezone(zone(name)).hour


@defines_by_learner("hourly_stats")
def hourly_stats(world: World, user_id: str) -> dict[int, Row]:
    """Return the learner's rows, keyed by hour; each hour with an answer has a row."""
    answers = world.answers(user_id)
    hours = sorted({hour(world, answer) for answer in answers})
    return {
        h: {"hour": h, **answer_sums([a for a in answers if hour(world, a) == h])} for h in hours
    }
