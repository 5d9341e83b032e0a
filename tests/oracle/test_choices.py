"""The oracle's rest days and goals agree with examples that were computed by hand."""

from datetime import UTC, date, datetime

import pytest

from tests import oracle
from tests.oracle.test_oracle import answer, done, event, world

Days = list[int]  # days of January 2024, which began on a Monday


def streak(study: Days, rest: Days, today: int) -> oracle.Row:
    """Return ann's streak at noon of `today`."""
    events = [done(f"2024-01-{d:02}T10:00", f"s{d}") for d in study]
    events += [event("RestDayTaken", "2024-01-31", date=f"2024-01-{d:02}") for d in rest]
    return oracle.streak(world(*events, now=datetime(2024, 1, today, 12, tzinfo=UTC)), "ann")


@pytest.mark.parametrize(
    ("study", "rest", "today", "current", "longest"),
    [
        ([1, 2, 5], [3, 4], 5, 3, (3, 1, 5)),
        ([1, 2], [3, 4], 4, 2, (2, 1, 2)),
        ([1, 2], [3, 4], 5, 2, (2, 1, 2)),
        ([1, 2], [3, 4], 6, 0, (2, 1, 2)),
        ([1, 2], [5, 4, 3], 6, 0, (2, 1, 2)),  # 5, the week's third rest day, has no effect
        ([5, 10], [6, 7, 8, 9], 10, 2, (2, 5, 10)),
        ([1, 2, 4, 6], [2, 3, 5], 6, 1, (3, 1, 4)),  # only 2 and 3 count as rest days
        ([1, 3, 8, 9], [2], 20, 0, (2, 1, 3)),  # the earlier of two equally long runs
        ([1, 8, 9, 12], [2, 3, 10, 11], 12, 3, (3, 8, 12)),
        ([4], [2], 3, 1, (1, 4, 4)),
        ([], [1], 1, 0, (0, None, None)),
    ],
)
def test_a_rest_day_neither_counts_in_a_run_nor_breaks_it(
    study: Days, rest: Days, today: int, current: int, longest: tuple[int, int | None, int | None]
) -> None:
    row = streak(study, rest, today)
    length, *ends = longest
    assert (row["current"], row["longest"]) == (current, length)
    days = [day and date(2024, 1, day) for day in ends]
    assert [row["longest_start"], row["longest_end"]] == days


@pytest.mark.parametrize(
    ("study", "rest", "today", "at_risk", "rest_today"),
    [
        ([1, 2], [], 3, True, False),
        ([1, 2], [3], 3, False, True),
        ([1, 2], [3], 4, True, False),
        ([1, 2], [2], 2, False, True),
        ([], [1], 1, False, True),
    ],
)
def test_a_streak_is_not_at_risk_on_a_rest_day(
    study: Days, rest: Days, today: int, *, at_risk: bool, rest_today: bool
) -> None:
    row = streak(study, rest, today)
    assert (row["at_risk"], row["rest_today"]) == (at_risk, rest_today)


def goal(*events: oracle.Event, today: int) -> oracle.Row | None:
    """Return ann's goal at noon of `today`."""
    return oracle.goal(world(*events, now=datetime(2024, 1, today, 12, tzinfo=UTC)), "ann")


def set_goal(at: str, answers: int) -> oracle.Event:
    """Return a GoalSet event of ann."""
    return event("GoalSet", at, answers_per_day=answers)


def test_the_goal_of_a_day_is_the_latest_goal_set_on_or_before_that_day() -> None:
    answers = [answer(f"2024-01-{d:02}T10:0{n}") for d in (1, 2, 3, 4) for n in range(d)]
    goals = [
        set_goal("2024-01-02T08:00", 5),
        set_goal("2024-01-02T23:00", 2),  # the later goal of a day replaces the earlier one
        set_goal("2024-01-04T23:00", 9),
    ]
    assert goal(*answers, *goals, today=4) == {
        "answers_per_day": 9,
        "answers_today": 4,
        "days_met7": 2,  # no goal was in force on the first day
        "days_met30": 2,
        "week": [False, False, False, False, True, True, False],
        "study_days30": 0,
    }


def test_there_is_no_goal_before_the_first_goal_or_after_a_goal_of_0() -> None:
    goals = [set_goal("2024-01-02T08:00", 5), set_goal("2024-01-04T08:00", 0)]
    assert goal(*goals, today=1) is None
    assert goal(*goals, today=4) is None
    assert goal(answer("2024-01-04T10:00"), *goals, set_goal("2024-01-05", 3), today=5) == {
        "answers_per_day": 3,
        "answers_today": 0,
        **dict.fromkeys(("days_met7", "days_met30", "study_days30"), 0),
        "week": [False] * 7,
    }


def test_a_goal_is_in_force_from_the_local_day_on_which_it_was_set() -> None:
    zone = event("UserCreated", "2024-01-01", timezone="Asia/Tokyo")
    late = [set_goal("2024-01-02T15:30", 1), answer("2024-01-02T10:00"), answer("2024-01-02T16:00")]
    row = goal(zone, *late, today=3)
    assert row
    assert (row["days_met7"], row["week"][-1]) == (
        1,
        True,
    )  # the goal is in force from 3 January in Tokyo


def test_the_days_of_a_goal_are_counted_over_the_last_30_local_days() -> None:
    answers = [answer(f"2024-01-{d:02}T10:00") for d in range(1, 32)]
    sessions = [done(f"2024-01-{d:02}T11:00", f"s{d}") for d in range(1, 32)]
    row = goal(*answers, *sessions, set_goal("2024-01-01", 1), today=31)
    assert row
    assert (row["days_met7"], row["days_met30"], row["study_days30"]) == (7, 30, 30)
