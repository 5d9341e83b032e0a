"""The oracle's retention agrees with examples that were computed by hand."""

from datetime import date

import pytest

from tests import oracle
from tests.oracle.test_oracle import answer, event, review, world


def count_tests(*events: oracle.Event) -> dict[str, tuple[int, int]]:
    """Return the numbers of ann's retention tests and recalled tests, by day and maturity."""
    rows = oracle.retention_stats(world(*events), "ann")
    return {key: (row["asked"], row["recalled"]) for key, row in rows.items()}


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(0, {}), (1, "YOUNG"), (20, "YOUNG"), (21, "MATURE"), (36_500, "MATURE")],
)
def test_the_interval_decides_the_maturity_but_an_interval_of_0_gives_no_test(
    interval: int, expected: object
) -> None:
    found = count_tests(review("2024-03-01", interval), answer("2024-03-02"))
    assert found == (expected and {f"2024-03-02 {expected}": (1, 1)})


def test_an_answer_is_a_test_only_if_it_is_the_first_after_a_review_and_on_a_later_day() -> None:
    assert count_tests(
        review("2024-03-01T08:00", 3),
        answer("2024-03-02T08:00", right=False),
        answer("2024-03-03T08:00"),
    ) == {"2024-03-02 YOUNG": (1, 0)}
    # The first answer is on the review's day, so none of the answers is a test.
    assert (
        count_tests(
            review("2024-03-01T08:00", 3), answer("2024-03-01T09:00"), answer("2024-03-02T08:00")
        )
        == {}
    )


def test_a_review_at_the_time_of_an_answer_comes_after_the_answer() -> None:
    log = (
        review("2024-03-01", 3, n=1),
        review("2024-03-02", 30, n=2),
        answer("2024-03-02", n=3),
        answer("2024-03-04", n=4),
    )
    assert count_tests(*log) == {"2024-03-02 YOUNG": (1, 1), "2024-03-04 MATURE": (1, 1)}


def test_answers_or_reviews_at_the_same_time_are_ordered_by_id() -> None:
    reviews = (review("2024-03-01", 30, n=1), review("2024-03-01", 3, n=2))
    answers = (answer("2024-03-02", right=False, n=3), answer("2024-03-02", n=4))
    assert count_tests(*reviews, *answers) == {"2024-03-02 YOUNG": (1, 0)}


def test_the_local_day_of_a_review_or_answer_depends_on_the_zone_in_force_at_its_time() -> None:
    log = (review("2024-03-01T22:00", 3), answer("2024-03-02T01:00"))
    assert count_tests(*log) == {"2024-03-02 YOUNG": (1, 1)}
    in_new_york = event("UserCreated", "2024-01-01", timezone="America/New_York")
    assert count_tests(in_new_york, *log) == {}
    flight_west = event("UserPreferencesChanged", "2024-03-02T00:30", timezone="America/New_York")
    assert count_tests(event("UserCreated", "2024-01-01"), flight_west, *log) == {}


def test_retention_returns_whole_periods_and_omits_periods_without_a_test() -> None:
    seen = world(
        *(review("2024-02-28", 3, f"i{n}") for n in range(3)),
        answer("2024-02-29", "i0"),
        answer("2024-03-03", "i1", right=False),
        answer("2024-03-31", "i2"),
    )
    none = {"asked": 0, "recalled": 0, "rate": None}
    assert oracle.retention(seen, "ann", "WEEK") == {
        date(2024, 2, 26): {
            "start": date(2024, 2, 26),
            "end": date(2024, 3, 3),
            "young": {"asked": 2, "recalled": 1, "rate": 0.5},
            "mature": none,
        },
        date(2024, 3, 25): {
            "start": date(2024, 3, 25),
            "end": date(2024, 3, 31),
            "young": {"asked": 1, "recalled": 1, "rate": 1.0},
            "mature": none,
        },
    }
    months = oracle.retention(seen, "ann", "MONTH")
    assert [(one["start"], one["end"]) for one in months.values()] == [
        (date(2024, 2, 1), date(2024, 2, 29)),
        (date(2024, 3, 1), date(2024, 3, 31)),
    ]
    assert [*oracle.retention(seen, "ann", "DAY")] == [
        date(2024, 2, 29),
        date(2024, 3, 3),
        date(2024, 3, 31),
    ]
