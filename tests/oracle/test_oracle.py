"""The oracle agrees with examples that were computed by hand and with published facts."""

import csv
import hashlib
import itertools
import uuid
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


def test_the_smaller_id_comes_first_if_two_preferences_have_the_same_time() -> None:
    seen = world(
        event("UserCreated", "2024-01-05T12:00", timezone="Pacific/Kiritimati", n=2),
        event("UserCreated", "2024-01-05T12:00", timezone="America/New_York", n=1),
    )
    early = datetime(2024, 1, 4, 12, tzinfo=UTC)
    assert oracle.day_of(seen, "ann", early) == date(2024, 1, 4)
    assert oracle.day_of(seen, "ann", early + timedelta(days=1)) == date(2024, 1, 6)


def test_daily_stats_are_sums_over_the_events_of_each_day() -> None:
    seen = world(
        answer("2024-01-01T10:00", "i1", right=False, ms=1000),
        answer("2024-01-02T10:00", "i1", ms=2000),
        answer("2024-01-02T11:00", "i1", ms=2001),
        answer("2024-01-02T12:00", "i2", right=False, ms=0),
        answer("2024-01-02T12:30", "i2", right=False, ms=36_000_000),
        answer("2024-01-02T12:40", "i2", right=False, ms=None),
        done("2024-01-02T13:00", "s1", score=70, seconds=119),
        done("2024-01-02T14:00", "s1", score=10, seconds=1000),
        done("2024-01-02T15:00", "s2", score=250, seconds=86_400),
        done("2024-01-02T15:00", "s3", score=None, seconds=None),
        review("2024-01-03T10:00", 6),
        review("2024-01-04T10:00", 7),
        review("2024-01-05T10:00", 8),
    )
    days = oracle.daily_stats(seen, "ann")
    assert sorted(days) == [date(2024, 1, n) for n in (1, 2, 3, 4, 5)]
    assert days[date(2024, 1, 2)] == {
        "answers": 5,
        "correct_answers": 2,
        "accuracy_rate": 2 / 5,
        "average_response_ms": 64_001 / 4,  # ten hours count as a minute, an omitted time does not
        "sessions_completed": 3,
        "study_seconds": 14_519,
        "study_time_minutes": 241,
        "average_score": 160.0,
        "items_learned": 1,
        "items_reviewed": 1,
        "reviews": 0,
        "new_mastery_count": 0,
    }
    assert oracle.item_stats(seen, "ann")["i2"]["average_response_ms"] == 60_000 / 2
    assert [days[date(2024, 1, n)]["new_mastery_count"] for n in (3, 4, 5)] == [0, 1, 0]
    assert [days[date(2024, 1, n)]["reviews"] for n in (1, 3, 4)] == [0, 1, 1]
    assert days[date(2024, 1, 3)]["accuracy_rate"] is None


def test_weekly_and_monthly_stats_are_sums_over_whole_periods() -> None:
    seen = world(
        answer("2024-01-31T10:00", "i1"),
        answer("2024-01-31T11:00", "i2"),
        answer("2024-02-01T10:00", "i1"),
        answer("2024-02-02T10:00", "i1"),
        done("2024-02-02T10:00", "s1", seconds=59),
        done("2024-02-03T10:00", "s2", seconds=59),
    )
    assert list(oracle.weekly_stats(seen, "ann")) == [date(2024, 1, 29)]
    week = oracle.weekly_stats(seen, "ann")[date(2024, 1, 29)]
    assert (week["end"], week["active_days"], week["items_reviewed"]) == (date(2024, 2, 4), 4, 1)
    assert (week["study_seconds"], week["study_time_minutes"]) == (118, 1)
    months = oracle.monthly_stats(seen, "ann")
    assert [months[d]["answers"] for d in (date(2024, 1, 1), date(2024, 2, 1))] == [2, 2]
    assert months[date(2024, 2, 1)]["end"] == date(2024, 2, 29)


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


def test_events_at_the_same_time_are_ordered_by_uuid() -> None:
    high, low = UUID(int=0x80 << 120).int, UUID(int=0x7F << 120).int
    seen = world(review("2024-01-01", 7, n=high), review("2024-01-01", 3, n=low))
    assert oracle.item_stats(seen, "ann")["i1"]["interval_days"] == 7
    first = world(done("2024-01-01", "s", score=1, n=high), done("2024-01-01", "s", score=2, n=low))
    assert oracle.daily_stats(first, "ann")[date(2024, 1, 1)]["average_score"] == 2


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


def published(kind: str, at: str, item: str, **data: Any) -> oracle.Event:
    return event(kind, at, None, item_id=item, **data)


def catalogue_world() -> oracle.World:
    """Return the events of ann and of the catalogue.

    The latest description of i1 has no level. i2 is archived, i3 has no domains, and i9 is archived
    without a description.
    """
    return world(
        published("ItemPublished", "2024-01-01", "i1", domains=["W", "R"], cefr_level="A1"),
        published("ItemUpdated", "2024-01-02", "i1", domains=["S", "L", "R"], headword="w"),
        published("ItemPublished", "2024-01-01", "i2", domains=["R"], cefr_level="B1"),
        published("ItemPublished", "2024-01-01", "i3", domains=[], cefr_level="B1"),
        published("ItemArchived", "2024-01-03", "i2"),
        published("ItemArchived", "2024-01-03", "i9"),
        review("2024-01-01", 21, "i1"),
        review("2024-01-01", 7, "i2"),
        answer("2024-01-01", "i9", right=False),
    )


def test_domains_and_levels_use_the_latest_description() -> None:
    seen = catalogue_world()
    assert oracle.catalogue(seen) == {"i1", "i3"}
    domains = oracle.domain_stats(seen, "ann")
    assert domains.keys() == {"R", "L", "S", "UNKNOWN"}
    read = domains["R"]
    assert (read["items_studied"], read["catalogue_items"], read["progress_rate"]) == (2, 1, 1.0)
    assert domains["UNKNOWN"]["catalogue_items"] is None
    levels = oracle.level_stats(seen, "ann")
    assert levels.keys() == {"B1", "UNKNOWN"}
    assert (levels["B1"]["short_term_mastered"], levels["B1"]["progress_rate"]) == (1, 0.0)
    progress = oracle.user_progress(seen, "ann")
    assert progress is not None
    assert (progress["unlearned"], progress["learning"]) == (1, 1)
    assert oracle.item(seen, "ann", "i3") is not None
    assert oracle.item(seen, "ann", "i8") is None


def word(at: str, item: str, language: str | None, **data: Any) -> oracle.Event:
    shown: dict[str, Any] = {"domains": ["R"], "language": language, **data}
    return published("ItemUpdated", at, item, **shown)


def test_the_totals_of_the_catalogue_count_the_languages_that_the_learner_met() -> None:
    deck = [word("2024-01-01", f"d{n}", "de", cefr_level="C1", domains=["L"]) for n in range(3)]
    english = [word("2024-01-01", f"e{n}", "en-GB", cefr_level="A1") for n in range(4)]
    none = word("2024-01-01", "n1", None, cefr_level="B1")
    mine = [answer("2024-01-02", "e1"), review("2024-01-02", 7, "e1"), answer("2024-01-02", "x")]
    seen = world(*english, *deck, none, *mine)
    assert oracle.languages(seen, "ann") == frozenset({"en"})
    progress = oracle.user_progress(seen, "ann")
    assert progress
    assert progress["unlearned"] == 3
    assert oracle.domain_stats(seen, "ann").keys() == {"R", "UNKNOWN"}
    levels = oracle.level_stats(seen, "ann")
    assert levels.keys() == {"A1", "UNKNOWN"}
    assert (levels["A1"]["catalogue_items"], levels["A1"]["progress_rate"]) == (4, 0.25)
    # Nothing described was met: all languages count.
    stranger = oracle.user_progress(world(*english, *deck, none, answer("2024-01-02", "x")), "ann")
    assert stranger
    assert stranger["unlearned"] == 8


def test_a_missing_language_is_a_language_and_an_archived_item_names_its_own() -> None:
    words = [word("2024-01-01", "n1", None), word("2024-01-01", "n2", None)]
    german = [word("2024-01-01", "d1", "DE"), word("2024-01-01", "d2", "de-AT")]
    seen = world(*words, *german, answer("2024-01-02", "n1"))
    assert oracle.languages(seen, "ann") == frozenset({"und"})
    assert (oracle.user_progress(seen, "ann") or {})["unlearned"] == 1
    gone = published("ItemArchived", "2024-01-03", "d1")
    seen = world(*words, *german, answer("2024-01-02", "d1"), gone)
    assert oracle.languages(seen, "ann") == frozenset({"de"})
    assert (oracle.user_progress(seen, "ann") or {})["unlearned"] == 1
    assert oracle.domain_stats(seen, "ann")["R"]["catalogue_items"] == 1
    moved = word("2024-01-04", "n1", "en")
    seen = world(*words, moved, answer("2024-01-02", "n1"))
    assert oracle.languages(seen, "ann") == frozenset({"en"})


def test_a_language_counts_its_own_items_and_und_those_without_one() -> None:
    german = [word("2024-01-01", f"d{n}", "de-AT", cefr_level="A1") for n in range(5)]
    french = word("2024-01-01", "f1", "FR", cefr_level="A1")
    none = word("2024-01-01", "n1", "und-Latn", cefr_level="B1")
    mine = [review("2024-01-02", 7, f"d{n}") for n in range(4)] + [answer("2024-01-02", "x")]
    seen = world(*german, french, none, *mine, answer("2024-01-02", "n1"))
    assert oracle.items_by_language(seen, "ann") == [
        {"language": "de", "items_studied": 4, "answers": 0},
        {"language": "und", "items_studied": 2, "answers": 2},
    ]
    levels = {tag: oracle.level_stats(seen, "ann", tag) for tag in ("de", "fr", "und", "es", None)}
    assert {tag: rows.keys() for tag, rows in levels.items()} == {
        "de": {"A1"}, "fr": {"A1"}, "und": {"B1", "UNKNOWN"}, "es": set(),
        None: {"A1", "B1", "UNKNOWN"},
    }  # fmt: skip
    german_a1, french_a1 = levels["de"]["A1"], levels["fr"]["A1"]
    assert (german_a1["progress_rate"], german_a1["reached"]) == (0.8, True)
    assert (french_a1["catalogue_items"], french_a1["items_studied"]) == (1, 0)
    domains = oracle.domain_stats(seen, "ann", "und")
    assert {name: row["items_studied"] for name, row in domains.items()} == {"R": 1, "UNKNOWN": 1}
    known = oracle.knowledge(seen, "ann", language="und")
    assert [(row["level"], row["items"]) for row in known["levels"]] == [("B1", 1), ("UNKNOWN", 1)]


def named(at: str, *names: object, kind: str = "UserPreferencesChanged") -> oracle.Event:
    data: dict[str, Any] = {"display_name": names[0]} if names else {}
    return event(kind, at, **data)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        ([named("2024-01-01", "Ann")], "Ann"),
        ([named("2024-01-01", "Ann"), named("2024-01-02")], "Ann"),
        ([named("2024-01-01", "Ann"), named("2024-01-02", None)], None),
        ([named("2024-01-01", "Ann"), named("2024-01-02", "")], None),
        ([named("2024-01-02", "Ann"), named("2024-01-01", "Bob")], "Ann"),
        ([named("2024-01-01", "Ann"), named("2024-01-02", "a\u0085b")], "Ann"),
        ([named("2024-01-01", "Ann"), named("2024-01-02", "x" * 101)], "Ann"),
        ([named("2024-01-01", "Ann"), named("2024-01-02", 7)], "Ann"),
        ([named("2024-01-01", "\N{FOX FACE}" * 100)], "\N{FOX FACE}" * 100),
        ([named("2024-01-01", "Ann", kind="GoalSet")], None),
    ],
)
def test_the_display_name_is_the_latest_that_an_event_published(
    events: list[oracle.Event], expected: str | None
) -> None:
    seen = oracle.see([answer("2023-01-01"), *events], NOW, as_of=datetime(2023, 6, 1, tzinfo=UTC))
    assert seen.display_name("ann") == expected


def test_a_deleted_learner_has_no_name_and_is_not_found() -> None:
    log = [named("2024-01-01", "Anna"), answer("2024-01-01")]
    ann = {"user_id": "ann", "display_name": "Anna"}
    assert oracle.search_learners(world(*log), "NN") == [ann]
    assert oracle.search_learners(world(*log), "nob") == []
    gone = world(*log, event("UserDeleted", "2024-01-02"))
    assert gone.display_name("ann") is None
    assert oracle.search_learners(gone, "ann") == []


def test_a_search_finds_the_exact_id_first_then_beginnings_then_by_name() -> None:
    names = {"lan": "Zoe", "an": None, "annika": None, "x": "Andy", "y": "Jan", "z": "J\u00c4N"}
    log = [
        event("UserCreated", "2024-01-01", user=user, display_name=name)
        for user, name in names.items()
    ]
    found = oracle.search_learners(world(*log), "an")
    assert [row["user_id"] for row in found] == ["an", "x", "annika", "y", "lan"]


def test_the_due_forecast_counts_overdue_items_under_today_and_omits_archived_items() -> None:
    seen = world(
        review("2024-05-20T10:00", 3, "i1"),
        review("2024-05-30T13:00", 2, "i2"),
        review("2024-05-30T13:00", 3, "i3"),
        review("2024-05-30T13:00", 3, "i4"),
        published("ItemArchived", "2024-01-01", "i4"),
    )
    assert [row["items"] for row in oracle.due_forecast(seen, "ann", 3).values()] == [2, 1, 0]
    assert [row["overdue"] for row in oracle.due_forecast(seen, "ann", 3).values()] == [1, 0, 0]
    assert oracle.due_today(seen, "ann") == {"i1", "i2"}


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
        "study_days30": 4,
    }


def test_there_is_no_goal_before_the_first_goal_or_after_a_goal_of_0() -> None:
    goals = [set_goal("2024-01-02T08:00", 5), set_goal("2024-01-04T08:00", 0)]
    assert goal(*goals, today=1) is None
    assert goal(*goals, today=4) is None
    assert goal(answer("2024-01-04T10:00"), *goals, set_goal("2024-01-05", 3), today=5) == {
        "answers_per_day": 3,
        "answers_today": 0,
        **dict.fromkeys(("days_met7", "days_met30"), 0),
        "week": [False] * 7,
        "study_days30": 1,
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


def test_a_deleted_learner_has_no_rows_at_any_time() -> None:
    seen = oracle.see(
        [answer("2024-01-01"), event("UserDeleted", "2024-01-02"), answer("2024-01-03")],
        NOW,
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
    )
    assert oracle.user_progress(seen, "ann") is None
    assert not oracle.daily_stats(seen, "ann")
    assert not oracle.item_stats(seen, "ann")


def test_the_parameter_as_of_limits_event_times_and_known_at_limits_recording_times() -> None:
    early, late = answer("2024-01-01"), answer("2024-01-02")
    assert len(oracle.see([late, early], NOW, as_of=early.occurred_at).events) == 1
    seen = oracle.see([late, early], NOW, known_at=early.created_at)
    assert (len(seen.events), seen.now) == (1, early.created_at)


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


def reached(*events: oracle.Event) -> list[tuple[str, object, str]]:
    """Return ann's milestones: kind, value or level, and the month and day of `reached_on`."""
    rows = oracle.milestones(world(*events), "ann")
    return [(r["kind"], r["level"] or r["value"], f"{r['reached_on']:%m-%d}") for r in rows]


def study(*days: int) -> list[oracle.Event]:
    """Return a completed session on each of these days, counted from 1 January 2024."""
    dates = (date(2023, 12, 31) + timedelta(days=d) for d in days)
    return [done(f"{d}T10:00", f"s{d}") for d in dates]


def rest(*days: int) -> list[oracle.Event]:
    return [event("RestDayTaken", "2024-01-31", date=f"2024-01-{d:02}") for d in days]


def test_a_streak_is_reached_once_on_the_earliest_study_day_of_this_length() -> None:
    assert reached(*study(1, 2, 5, 6, 7, *range(9, 16))) == [
        ("STREAK", 7, "01-15"),
        ("STREAK", 3, "01-07"),
    ]
    assert reached(*study(1, 2, 4), *rest(3)) == [("STREAK", 3, "01-04")]
    assert reached(*study(3, 4, 6), *rest(5, 2)) == [("STREAK", 3, "01-06")]
    # The rest day that is taken last takes the place of the fifth.
    assert reached(*study(3, 4, 6), *rest(5, 2, 1)) == []


def test_after_365_days_each_further_365_days_are_a_milestone() -> None:
    values = [value for _, value, _ in reached(*study(*range(1, 732)))]
    assert values == [730, 365, 200, 100, 50, 30, 14, 7, 3]


def test_items_are_a_milestone_on_the_day_on_which_their_number_reaches_the_value() -> None:
    answers = [answer(f"2024-01-{1 + n // 14:02}T10:00", f"i{n}") for n in range(50)]
    reviews = [review(f"2024-02-{1 + n // 7:02}T10:00", 7, f"i{n}") for n in range(49)]
    assert reached(*answers, *reviews) == [
        ("ITEMS_MASTERED", 10, "02-02"),
        ("ITEMS_LEARNED", 50, "01-04"),
        ("STREAK", 3, "01-03"),
        ("ITEMS_LEARNED", 10, "01-01"),
    ]
    assert reached(*answers[:9], answer("2024-01-01", "i9", right=False)) == []


def test_a_goal_that_is_raised_in_the_evening_takes_back_the_milestone_of_the_day() -> None:
    answers = [answer(f"2024-01-0{d}T10:0{n}") for d in (2, 3) for n in range(2)]
    goals = [set_goal("2024-01-02T08:00", 2)]
    assert reached(*answers, *goals) == [("GOAL_MET", 2, "01-03"), ("GOAL_MET", 2, "01-02")]
    raised = [*goals, set_goal("2024-01-03T20:00", 3)]
    assert reached(*answers, *raised) == [("GOAL_MET", 2, "01-02")]
    assert reached(*answers, *raised, set_goal("2024-01-02T21:00", 0)) == []


def test_a_level_is_reached_while_it_is_mastered_on_the_day_of_the_last_item_needed() -> None:
    items = [
        published("ItemPublished", "2024-01-01", f"i{n}", domains=[], cefr_level="A1")
        for n in range(6)  # 5 of 6 items are needed
    ]
    reviews = [review(f"2024-01-1{n}T10:00", 7, f"i{n}") for n in range(5)]
    assert reached(*items, *reviews) == [("LEVEL_REACHED", "A1", "01-14")]
    assert reached(*items, *reviews[:4]) == []
    # A lapse ends the level. Another item brings it back, and the lapsed item counts as before.
    lapse = review("2024-01-20", 1, "i0")
    assert reached(*items, *reviews, lapse) == []
    sixth = review("2024-01-21", 21, "i5")
    assert reached(*items, *reviews, lapse, sixth) == [("LEVEL_REACHED", "A1", "01-14")]
    archived = published("ItemArchived", "2024-02-01", "i5")
    assert reached(*items, *reviews[:4], archived) == [("LEVEL_REACHED", "A1", "01-13")]


def test_milestones_of_one_day_are_ordered_by_kind_by_level_and_by_value() -> None:
    answers = [answer("2024-01-03T10:00", f"i{n}") for n in range(50)]
    reviews = [review("2024-01-03T11:00", 7, f"i{n}") for n in range(10)]
    items = [
        published("ItemPublished", "2024-01-01", f"i{n}", domains=[], cefr_level=level)
        for n, level in enumerate(("B1", "A2"))
    ]
    log = [*answers, *reviews, *items, *study(1, 2, 3), set_goal("2024-01-02", 1)]
    assert [row[:2] for row in reached(*log)] == [
        ("STREAK", 3),
        ("ITEMS_LEARNED", 50),
        ("ITEMS_LEARNED", 10),
        ("ITEMS_MASTERED", 10),
        ("GOAL_MET", 1),
        ("LEVEL_REACHED", "A2"),
        ("LEVEL_REACHED", "B1"),
    ]


@pytest.mark.parametrize(
    ("user", "row", "identity"),
    [
        ("ann", {"kind": "STREAK", "value": 3, "level": None}, '["ann","STREAK",3,null]'),
        (
            "ann",
            {"kind": "GOAL_MET", "value": 9, "level": None, "reached_on": date(2024, 1, 2)},
            '["ann","GOAL_MET","2024-01-02"]',
        ),
        (
            '日"/\\\x01\x7f',
            {"kind": "LEVEL_REACHED", "value": None, "level": "A1"},
            '["日\\"/\\\\\\u0001\x7f","LEVEL_REACHED",null,"A1"]',
        ),
    ],
)
def test_the_id_of_a_milestone_is_a_uuid_of_its_identity(
    user: str, row: oracle.Row, identity: str
) -> None:
    named = uuid.NAMESPACE_OID.bytes + identity.encode()
    digest = bytearray(hashlib.sha1(named, usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    assert oracle.milestone_id(user, row).bytes == bytes(digest)


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
