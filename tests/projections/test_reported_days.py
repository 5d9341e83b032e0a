"""Users of Anki and of its add-on Review Heatmap reported these wrong days, hours and rates.

Each test has the log of one report (docs/trust.md), and asks what the reporter expected.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from progress.query.read_models import rows
from progress.query.read_models.rows import PeriodLength
from tests.oracle.days import zone
from tests.support.api import QueryClient
from tests.support.envelopes import Envelope, envelope
from tests.support.event_logs import Disturbance, Log, Published
from tests.support.stage import Stage

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
IN_ORDER = Disturbance(sizes=(1_000,), every=None, limit=1_000)


def wall(text: str, zone_name: str) -> datetime:
    """Return the time at which a clock in the zone shows `text`."""
    return datetime.fromisoformat(text).replace(tzinfo=zone(zone_name)).astimezone(UTC)


def live_in(zone_name: str, since: str, hour: int = 0) -> Envelope:
    """Return the preference event: from the local time `since` on, ann lives in this zone."""
    data = {"user_id": "ann", "timezone": zone_name, "day_start_hour": hour}
    at = wall(since, zone_name).isoformat()
    return envelope("UserPreferencesChanged", data, occurred_at=at)


def study(
    at: datetime, *items: str, forgotten: Collection[str] = (), days: int = 3
) -> list[Envelope]:
    """Return ann's answers to the items, a minute apart; each review sets the interval `days`."""
    session = f"of {at.isoformat()}"
    data: dict[str, Any] = {"session_id": session, "user_id": "ann", "item_count": len(items)}
    made = [envelope("SessionStarted", data, occurred_at=at.isoformat())]
    for n, item in enumerate(items):
        then, kind = (at + n * MINUTE).isoformat(), "Incorrect" if item in forgotten else "Correct"
        data = {"session_id": session, "item_id": item, "response_time_ms": 2_500}
        made.append(envelope(f"{kind}AnswerGiven", data, occurred_at=then))
        made.append(review(item, then, days))
    return made


def review(item: str, at: str, days: int) -> Envelope:
    data = {"user_id": "ann", "item_id": item, "new_interval": days, "easiness_factor": 2.5}
    return envelope("ReviewProcessed", data, occurred_at=at)


def dates(first: str, last: str) -> Iterator[date]:
    begin = date.fromisoformat(first)
    return (begin + n * DAY for n in range((date.fromisoformat(last) - begin).days + 1))


def deliver(stage: Stage, log: list[Envelope], now: datetime) -> None:
    published = [Published(one, (turn,)) for turn, one in enumerate(log)]
    stage.deliver(Log(tuple(published), now), IN_ORDER)
    assert not stage.differences(now)


def days_with_answers(fetch: QueryClient, now: datetime) -> list[date]:
    query = fetch.queries.get_stats_range("ann", now.date() - 200 * DAY, now.date(), at=now)
    return [day.date for day in fetch(query) if day.answers]


def test_a_past_day_keeps_the_offset_that_its_clocks_had(stage: Stage, fetch: QueryClient) -> None:
    """Report ankitects/anki#2801: on two days, ann studied between 4 and 5, after her day began."""
    now = datetime(2023, 11, 3, 12, tzinfo=UTC)
    log = [live_in("Europe/Paris", "2023-07-28T12:00", 4)]
    studied = list(dates("2023-07-29", "2023-11-02"))
    for day in studied:
        early = day in (date(2023, 8, 2), date(2023, 10, 11))
        log += study(wall(f"{day}T{'04:20' if early else '19:00'}", "Europe/Paris"), "word")
    deliver(stage, log, now)
    assert days_with_answers(fetch, now) == studied


def test_a_day_of_23_hours_is_a_day(stage: Stage, fetch: QueryClient) -> None:
    """Report ankitects/anki#1025: 12 March 2023 had 23 hours in New York."""
    now = datetime(2023, 3, 25, 5, tzinfo=UTC)
    log = [live_in("America/New_York", "2023-03-05T12:00")]
    studied = list(dates("2023-03-06", "2023-03-24"))
    for day in studied:
        log += study(wall(f"{day}T20:00", "America/New_York"), "word", "verb")
    deliver(stage, log, now)
    assert days_with_answers(fetch, now) == studied


def test_a_trip_to_another_zone_breaks_no_streak(stage: Stage, fetch: QueryClient) -> None:
    """Report glutanimate/review-heatmap#212: ann studies in Tokyo, early and late by turns."""
    home, away, now = "Europe/Paris", "Asia/Tokyo", datetime(2025, 8, 7, 8, tzinfo=UTC)
    log = [live_in(home, "2025-06-30T12:00"), live_in(away, "2025-07-09T18:00")]
    log.append(live_in(home, "2025-07-25T15:00"))
    studied = list(dates("2025-07-01", "2025-08-06"))
    for day in studied:
        is_away = date(2025, 7, 9) <= day <= date(2025, 7, 24)
        clock = ("06:30" if day.day % 2 == 0 else "22:00") if is_away else "20:30"
        log += study(wall(f"{day}T{clock}", away if is_away else home), "word", "verb")
    deliver(stage, log, now)
    assert days_with_answers(fetch, now) == studied
    assert fetch(fetch.queries.get_streak("ann", at=now)).current == len(studied) == 37


def test_an_answer_keeps_the_hour_at_which_it_was_given(stage: Stage, fetch: QueryClient) -> None:
    """Report ankitects/anki#2062: ann studies at 11 p.m. in China, then moves to Japan."""
    now = datetime(2022, 9, 11, 12, tzinfo=UTC)
    log = [live_in("Asia/Shanghai", "2022-08-31T12:00"), live_in("Asia/Tokyo", "2022-09-11T12:00")]
    for day in dates("2022-09-01", "2022-09-10"):
        log += study(wall(f"{day}T23:00", "Asia/Shanghai"), "word", "verb")
    deliver(stage, log, now)
    hours = fetch(fetch.queries.run(rows.hourly_stats("ann", at=now)))
    assert [(row.hour, row.answers) for row in hours] == [(23, 20)]


def test_an_interval_that_is_set_by_hand_is_no_failed_answer(
    stage: Stage, fetch: QueryClient
) -> None:
    """Report ankitects/anki#3453: 3 of 20 answers are wrong; later, 5 intervals are set by hand."""
    items, learned = [f"w{n}" for n in range(20)], datetime(2024, 9, 20, 18, tzinfo=UTC)
    log = study(learned, *items)
    log += study(learned + 3 * DAY, *items, forgotten=items[:3], days=7)
    log += [review(item, (learned + 5 * DAY).isoformat(), 12) for item in items[3:8]]
    now = datetime(2024, 9, 28, 12, tzinfo=UTC)
    deliver(stage, log, now)
    september = date(2024, 9, 1), date(2024, 9, 30), PeriodLength.MONTH
    (month,) = fetch(fetch.queries.run(rows.retention("ann", *september, at=now)))
    assert (month.young.recalled, month.young.asked) == (17, 20)
