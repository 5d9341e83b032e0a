"""Retention: how often learners remembered items when asked on a later day than the last review."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import NamedTuple

from tests.oracle.days import Period, day, month, week
from tests.oracle.events import (
    Event,
    Row,
    World,
    defines_by_learner,
    grade,
    interval_days,
    only,
    ratio,
)

MATURITIES = ("YOUNG", "MATURE")


class RetentionTest(NamedTuple):
    user_id: str
    answer: Event
    day: date
    maturity: str

    @property
    def is_recalled(self) -> bool:
        return grade(self.answer) >= 2


def find_tests(world: World, answers: Iterable[Event]) -> Iterator[RetentionTest]:
    """Yield the retention tests among all answers of a learner, or all to an item, in order."""
    followed = set()
    for answer in answers:
        review = latest_review(world, answer)
        if review is None or review.event_id in followed:
            continue
        followed.add(review.event_id)
        interval = interval_days(review)
        if interval >= 1 and day(world, review) < day(world, answer):
            assert answer.user_id is not None
            yield RetentionTest(
                answer.user_id, answer, day(world, answer), "MATURE" if interval >= 21 else "YOUNG"
            )


def latest_review(world: World, answer: Event) -> Event | None:
    assert answer.user_id is not None
    reviews = only(world.reviews(answer.user_id), answer.data["item_id"])
    earlier = [review for review in reviews if review.occurred_at < answer.occurred_at]
    return earlier[-1] if earlier else None


@defines_by_learner("retention_stats")
def retention_stats(world: World, user_id: str) -> dict[str, Row]:
    tests = list(find_tests(world, world.answers(user_id)))
    return {
        f"{when} {maturity}": count_tests(
            [t for t in tests if (t.day, t.maturity) == (when, maturity)]
        )
        for when, maturity in sorted({(t.day, t.maturity) for t in tests})
    }


def retention(world: World, user_id: str, by: str) -> dict[date, Row]:
    tests = list(find_tests(world, world.answers(user_id)))
    period = _PERIODS[by]
    return {
        start: {
            "start": start,
            "end": end,
            **{
                maturity.lower(): count_tests(
                    [t for t in tests if period(t.day)[0] == start and t.maturity == maturity]
                )
                for maturity in MATURITIES
            },
        }
        for start, end in sorted({period(t.day) for t in tests})
    }


def count_tests(tests: list[RetentionTest]) -> Row:
    recalled = [t for t in tests if t.is_recalled]
    rate = ratio(len(recalled), len(tests))
    return {"asked": len(tests), "recalled": len(recalled), "rate": rate}


_PERIODS: dict[str, Callable[[date], Period]] = {
    "DAY": lambda one: (one, one),
    "WEEK": week,
    "MONTH": month,
}
