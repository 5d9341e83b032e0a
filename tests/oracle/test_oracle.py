"""The oracle agrees with examples that were computed by hand and with published facts."""

import csv
import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests import oracle
from tests.oracle.days import answer_sums, zone

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def event(
    kind: str, at: str, user: str | None = "ann", n: int | None = None, **data: Any
) -> oracle.Event:
    """Return a stored event with the id `n`; the default is the next unused number."""
    number = next(_numbers) if n is None else n
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return oracle.Event(UUID(int=number), kind, data, moment, moment, user)


def answer(
    at: str, item: str = "i1", *, right: bool = True, ms: int | None = 1000, n: int | None = None
) -> oracle.Event:
    kind = "CorrectAnswerGiven" if right else "IncorrectAnswerGiven"
    return event(kind, at, n=n, session_id="s", item_id=item, response_time_ms=ms)


def done(
    at: str,
    session: str,
    *,
    score: int | None = 50,
    seconds: int | None = 90,
    n: int | None = None,
) -> oracle.Event:
    return event(
        "SessionCompleted", at, n=n, session_id=session, score=score, duration_seconds=seconds
    )


def review(at: str, interval: int, item: str = "i1", n: int | None = None) -> oracle.Event:
    return event(
        "ReviewProcessed", at, n=n, item_id=item, new_interval=interval, easiness_factor=2.5
    )


def world(*events: oracle.Event, now: datetime = NOW) -> oracle.World:
    """Return the events that a query at `now` takes into account."""
    return oracle.see(events, now)


@pytest.mark.parametrize(
    ("name", "hour", "at", "expected"),
    [
        ("UTC", 0, "2024-01-31T23:59:59.999999", date(2024, 1, 31)),
        ("UTC", 4, "2024-03-01T03:59:59", date(2024, 2, 29)),
        ("Asia/Kathmandu", 0, "2024-01-01T18:15:00", date(2024, 1, 2)),
        ("Asia/Kathmandu", 0, "2024-01-01T18:14:59", date(2024, 1, 1)),
        # Apia skipped 30 December 2011.
        ("Pacific/Apia", 0, "2011-12-30T09:59:59", date(2011, 12, 29)),
        ("Pacific/Apia", 0, "2011-12-30T10:00:00", date(2011, 12, 31)),
        # The clock moves from 2 to 3 on this day, so it shows 4 three hours after midnight.
        ("America/New_York", 4, "2024-03-10T07:59:59", date(2024, 3, 9)),
        ("America/New_York", 4, "2024-03-10T08:00:00", date(2024, 3, 10)),
        # In the pinned rules, British Columbia stays on summer time from 2026.
        ("America/Vancouver", 2, "2026-11-01T09:00:00", date(2026, 11, 1)),
    ],
)
def test_the_local_day_follows_the_zone_and_the_day_start(
    name: str, hour: int, at: str, expected: date
) -> None:
    seen = world(event("UserCreated", "2000-01-01", timezone=name, day_start_hour=hour))
    assert oracle.day_of(seen, "ann", datetime.fromisoformat(at).replace(tzinfo=UTC)) == expected


def test_a_preference_applies_from_its_own_time_and_does_not_change_omitted_fields() -> None:
    seen = world(
        event("UserPreferencesChanged", "2024-01-01T12:00", day_start_hour=13, n=1),
        event("UserPreferencesChanged", "2024-01-05T12:00", timezone="Pacific/Kiritimati", n=3),
        event("UserPreferencesChanged", "2024-01-05T12:00", day_start_hour=0, n=2),
    )

    def day(at: str) -> date:
        return oracle.day_of(seen, "ann", datetime.fromisoformat(at).replace(tzinfo=UTC))

    assert day("2023-12-01T12:59:59") == date(2023, 11, 30)
    assert day("2024-01-05T11:59:59") == date(2024, 1, 4)
    assert day("2024-01-05T12:00:00") == date(2024, 1, 6)


def test_a_lapse_is_a_test_of_retention_that_was_not_recalled() -> None:
    reviews = [review("2024-01-01", 7), review("2024-01-08", 1), review("2024-01-09", 0)]
    wrong = [answer(f"2024-01-0{day}", right=False) for day in (1, 5, 6, 9)]  # 5 and 9 are tests
    later = [answer("2024-01-09T12:00", right=False), answer("2024-01-20", right=False)]

    def lapses(*events: oracle.Event) -> int:
        return int(oracle.item_stats(world(*events), "ann")["i1"]["lapses"])

    assert lapses(*reviews, *wrong, *later) == 2
    assert lapses(*reviews[:1], *wrong) == 1  # 9 January is no longer the first after a review
    assert lapses(*reviews) == lapses(*wrong) == 0
    assert lapses(*reviews, *wrong, answer("2024-01-04")) == 1
    days = event("UserCreated", "2023-01-01", timezone="UTC", day_start_hour=13)
    assert lapses(days, reviews[0], answer("2024-01-01T12:59", right=False)) == 0
    assert lapses(days, reviews[0], answer("2024-01-01T13:00", right=False)) == 1


def test_mastery_follows_the_latest_interval() -> None:
    intervals = [7, 6, 6, 21, 0, 20]
    reviews = [review(f"2024-01-0{n + 1}T10:00", i) for n, i in enumerate(intervals)]
    row = oracle.item_stats(world(*reviews), "ann")["i1"]
    assert (row["lapses"], row["mastery"], row["interval_days"]) == (0, "SHORT_TERM", 20)
    assert row["due_at"] == datetime(2024, 1, 26, 10, tzinfo=UTC)
    far = oracle.item_stats(world(review("2024-01-01T10:00", 2**32 - 1)), "ann")["i1"]
    assert (far["interval_days"], far["due_at"]) == (
        2**32 - 1, datetime(2123, 12, 8, 10, tzinfo=UTC)
    )  # fmt: skip
    assert oracle.item_stats(world(*reviews[:4]), "ann")["i1"]["mastery"] == "LONG_TERM"
    assert oracle.item_stats(world(*reviews[:2]), "ann")["i1"]["mastery"] == "LEARNING"


@pytest.mark.parametrize(
    ("days", "today", "current", "active", "risk", "longest"),
    [
        ([1, 2, 3], 3, 3, True, False, (1, 3)),
        ([1, 2, 3], 4, 3, False, True, (1, 3)),
        ([1, 2, 3], 5, 0, False, False, (1, 3)),
        ([1, 2, 5, 6], 6, 2, True, False, (1, 2)),
        ([1, 2, 3], 2, 3, True, False, (1, 3)),
        ([1, 2, 4], 3, 1, True, False, (1, 2)),
        ([], 3, 0, False, False, None),
    ],
)
def test_the_streak_depends_on_the_current_day(
    *,
    days: list[int],
    today: int,
    current: int,
    active: bool,
    risk: bool,
    longest: tuple[int, int] | None,
) -> None:
    events = [
        answer(f"2024-01-0{d}T10:00") if d % 2 else done(f"2024-01-0{d}T10:00", f"s{d}")
        for d in days
    ]
    row = oracle.streak(world(*events, now=datetime(2024, 1, today, 9, tzinfo=UTC)), "ann")
    assert (row["current"], row["active_today"], row["at_risk"]) == (current, active, risk)
    assert row["last_study_date"] == (date(2024, 1, days[-1]) if days else None)
    if longest:
        assert row["longest_start"] == date(2024, 1, longest[0])
        assert row["longest_end"] == date(2024, 1, longest[1])
        assert row["longest"] == longest[1] - longest[0] + 1


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


ANKI = Path(__file__).resolve().parents[2] / "data" / "anki_reviews.csv"


def anki() -> Iterator[oracle.Event]:
    """Yield the completed sessions of the log, and its answers.

    A session ends with the last answer before a break of over 30 minutes, or with the last answer
    of the log.
    """
    with ANKI.open(encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(r["review_time"]), r) for r in csv.DictReader(file)]
    rows.sort(key=lambda r: r[0])
    moments = [moment.replace(tzinfo=moment.tzinfo or UTC) for moment, _ in rows]
    for moment, following in itertools.zip_longest(moments, moments[1:]):
        if following is None or following - moment > timedelta(minutes=30):
            yield done(moment.astimezone(UTC).replace(tzinfo=None).isoformat(), moment.isoformat())
    for moment, (_, row) in zip(moments, rows, strict=True):
        at = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
        yield answer(at, row["card_id"], right=row["review_rating"] != "1")


def test_the_oracle_agrees_with_the_published_statistics() -> None:
    zone_event = event("UserCreated", "2024-01-01", timezone="America/New_York", day_start_hour=4)
    log = list(anki())
    completions = [e for e in log if e.type == "SessionCompleted"]
    assert len(completions) == 64
    seen = oracle.see([zone_event, *completions], NOW)
    assert oracle.streak(seen, "ann")["longest"] == 24
    answers = [e for e in log if e.type != "SessionCompleted"]
    assert round(answer_sums(answers)["accuracy_rate"], 3) == 0.708
    local = zone("America/New_York")
    days = {
        (e.occurred_at.astimezone(local).replace(tzinfo=None) - timedelta(hours=4)).date()
        for e in answers
    }
    assert len(days) == 61
