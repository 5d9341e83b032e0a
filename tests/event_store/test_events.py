"""The event catalogue: the values that each field accepts, and the rules of time zones."""

import json
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from progress.errors import SerializationError
from progress.event_store import entries, envelope, events, time_zones
from progress.event_store.contract.fields import example
from tests.oracle import days

GOOD = {name: example(declared)["data"] for name, declared in events.EVENT_TYPES.items()}


def fault(event_type: str, **changed: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        events.check(events.EVENT_TYPES[event_type], {**GOOD[event_type], **changed})
    return str(caught.value)


def accepts(event_type: str, **changed: Any) -> bool:
    try:
        events.check(events.EVENT_TYPES[event_type], {**GOOD[event_type], **changed})
    except SerializationError:
        return False
    return True


def test_an_integer_field_accepts_only_integers_in_its_range() -> None:
    for event_type, field, low, high in [
        ("SessionStarted", "item_count", 0, 4_294_967_295),
        ("CorrectAnswerGiven", "response_time_ms", 0, 9_223_372_036_854_775_807),
        ("IncorrectAnswerGiven", "response_time_ms", 0, 9_223_372_036_854_775_807),
        ("SessionCompleted", "score", 0, 4_294_967_295),
        ("SessionCompleted", "duration_seconds", 0, 9_223_372_036_854_775_807),
        ("ReviewProcessed", "new_interval", 0, 4_294_967_295),
        ("UserCreated", "day_start_hour", 0, 23),
        ("UserPreferencesChanged", "day_start_hour", 0, 23),
        ("GoalSet", "answers_per_day", 0, 1000),
        ("CardReviewed", "rating", 1, 4),
        ("ListPublished", "rank", 0, 2_147_483_647),
        ("ItemListed", "position", 0, 2_147_483_647),
    ]:
        rule = f"expected an integer from {low} to {high:,} - at $.data.{field}"
        for bad in (low - 1, high + 1, True, 5.0, "5", [5], 10**30):
            assert fault(event_type, **{field: bad}) == rule
        for good in (low, high):
            events.check(events.EVENT_TYPES[event_type], {**GOOD[event_type], field: good})


def test_a_number_has_bounds() -> None:
    for event_type, field, high in [
        ("ReviewProcessed", "easiness_factor", 1_000),
        ("CardReviewed", "interval_days", 2**32 - 1),
        ("CardReviewed", "duration_ms", 10**12),
    ]:
        for good in (0, -0.0, 0.5, high, float(high)):
            assert accepts(event_type, **{field: good})
        for bad in (-0.01, high + 0.01, high + 1, 10**30, True, "2"):
            assert fault(event_type, **{field: bad}) == (
                f"expected a number from 0 to {high:,} - at $.data.{field}"
            )


def test_a_reviewed_card_has_a_next_review_and_a_learner() -> None:
    time = "an RFC 3339 time with an offset, in UTC from year 1 to 9999"
    assert fault("CardReviewed", due=None, interval_days=None) == (
        f"expected {time}, found none - at $.data.due"
    )
    assert fault("CardReviewed", user_id=None, session_id=None) == (
        "expected a string of 1 to 200 characters, found none - at $.data.user_id"
    )
    assert accepts("CardReviewed", due=None, user_id=None)
    assert accepts("CardReviewed", interval_days=None, session_id=None)


def test_a_due_time_is_stored_in_utc_with_microseconds() -> None:
    for sent, stored in [
        ("2024-03-01T09:30:00.1234567+09:30", "2024-03-01T00:00:00.123456Z"),
        ("2024-02-29t23:59:60z", "2024-03-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("0000-12-31T00:00:00Z", None),
        ("2023-02-29T00:00:00Z", None),
        ("2024-03-01T00:00:00", None),
        ("2024-03-01T00:00:00.000000Z\n", None),
        (1_709_251_200, None),
    ]:
        data = {**GOOD["CardReviewed"], "due": sent}
        body = {
            "event_id": "e",
            "event_type": "CardReviewed",
            "occurred_at": "2024-03-01T00:00:00Z",
        }
        entry = envelope.decode(json.dumps({**body, "data": data}).encode(), entries.Message())[0]
        if stored:
            assert isinstance(entry, entries.ParsedEvent)
            assert entry.data == {**data, "due": stored}
        else:
            assert isinstance(entry, entries.Rejection)
            assert entry.kind == "invalid"
            assert entry.reason.endswith("in UTC from year 1 to 9999 - at $.data.due")


OPTIONAL = {
    *("cefr_level", "headword", "language", "timezone", "day_start_hour", "display_name"),
    *("group_name", "item_count", "response_time_ms", "score", "duration_seconds"),
    *("easiness_factor", "domains", "email", "due", "interval_days", "duration_ms", "kind"),
    *("scale", "rank", "position"),
}


IN_PAIRS = {"user_id", "session_id"}  # of CardReviewed, which needs one of them
OF_TYPE = {"CardReviewed": IN_PAIRS, **{kind: {"user_id"} for kind in events.OF_LISTS}}


def test_a_required_field_must_be_present_and_not_null() -> None:
    for event_type, field in [(kind, name) for kind, data in GOOD.items() for name in data]:
        left_out = {key: value for key, value in GOOD[event_type].items() if key != field}
        if field in OPTIONAL | OF_TYPE.get(event_type, set()):
            events.check(events.EVENT_TYPES[event_type], left_out)
            assert accepts(event_type, **{field: None})
            continue
        with pytest.raises(SerializationError, match=rf"found none - at \$\.data\.{field}$"):
            events.check(events.EVENT_TYPES[event_type], left_out)
        assert fault(event_type, **{field: None}).endswith(f", found none - at $.data.{field}")


def test_a_name_has_a_number_of_code_points_and_no_control_character() -> None:
    for event_type, field, low, high in [
        ("UserCreated", "display_name", 0, 100),
        ("UserPreferencesChanged", "display_name", 0, 100),
        ("LearnerJoinedGroup", "group_name", 0, 100),
        ("ListPublished", "name", 1, 100),
        ("ListPublished", "scale", 0, 100),
        ("ItemListed", "headword", 0, 200),
        ("ItemListed", "kind", 0, 50),
    ]:
        good = ("Ann", "x", "\N{FOX FACE}" * high, "\u5c71\u7530 \u592a\u90ce", "a\u00a0b")
        assert all(accepts(event_type, **{field: name}) for name in good)
        assert (
            accepts(event_type, **{field: ""}) == accepts(event_type, **{field: None}) == (low == 0)
        )
        rule = f"a string of {f'{low} to' if low else 'at most'} {high} characters"
        rule += " without control characters" + (", or null" if field == "display_name" else "")
        bad = ("a\n", "\n", "a\tb", "\x00", "\x1f", "\x7f", "\x80", "\x9f", 5, True, ["Ann"])
        for name in ("x" * (high + 1), *bad):
            assert fault(event_type, **{field: name}) == f"expected {rule} - at $.data.{field}"


def test_item_fields_accept_only_declared_values() -> None:
    assert accepts("ItemPublished", domains=["S", "R"], cefr_level="C2")
    assert accepts("ItemUpdated", domains=[], cefr_level=None)
    domains = "expected an array of distinct R, W, L, S - at $.data.domains"
    for bad in (["R", "R"], ["X"], "R", [None], [["R"]]):
        assert fault("ItemPublished", domains=bad) == domains
    assert fault("ItemPublished", cefr_level="a1") == (
        "expected one of A1, A2, B1, B2, C1, C2 - at $.data.cefr_level"
    )
    assert fault("ItemUpdated", headword=5) == "expected a string - at $.data.headword"


def test_a_time_zone_must_be_in_the_pinned_tzdata_package() -> None:
    assert accepts("UserPreferencesChanged", timezone="Asia/Kathmandu")
    assert accepts("UserPreferencesChanged", timezone=None)
    for bad in ("Mars/Olympus", "", "europe/berlin", "../etc/passwd", 5):
        assert fault("UserPreferencesChanged", timezone=bad) == (
            "expected an IANA zone name - at $.data.timezone"
        )


def test_a_rest_day_must_be_a_real_day_from_2000_to_2099_in_the_exact_form() -> None:
    written = [(date(1999, 12, 25) + timedelta(days=n)).isoformat() for n in range(36_540)]
    written += [
        f"{y}-{m:02}-{d}" for y in range(1999, 2101) for m in range(14) for d in range(28, 33)
    ]
    accepted = {text for text in written if accepts("RestDayTaken", date=text)}
    real = [date(2000, 1, 1) + timedelta(days=n) for n in range(36_525)]
    assert accepted == {day.isoformat() for day in real}
    for bad in ["2024-1-01", "2024-01-01\n", "20240101", "2024-01-01T00:00", 5]:
        assert fault("RestDayTaken", date=bad) == (
            "expected a day from 2000-01-01 to 2099-12-31 in the form YYYY-MM-DD - at $.data.date"
        )


def test_a_language_must_be_a_language_tag() -> None:
    for good in ("en", "pt-BR", "zh-Hant-TW", "x" * 8 + "-1" * 13, None):
        assert accepts("ItemPublished", language=good)
    for bad in ("", "e", "e" * 9, "en_US", "en-", "en\n", "1a", "x" * 8 + "-1" * 14, True, ["en"]):
        assert fault("ItemUpdated", language=bad) == (
            "expected a language tag of 2 to 35 characters, such as en or pt-BR "
            "- at $.data.language"
        )


def test_a_group_id_must_have_1_to_200_characters() -> None:
    assert accepts("LearnerJoinedGroup", group_id="g" * 200)
    for bad in ("", "g" * 201, 5):
        assert fault("LearnerJoinedGroup", group_id=bad) == (
            "expected a string of 1 to 200 characters - at $.data.group_id"
        )


_FIRST, _LAST = 946_684_800, 4_102_444_800  # the starts of the years 2000 and 2100, in seconds
_MONTH = 30 * 86_400


def offset(zone: ZoneInfo, instant: int) -> float:
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    assert offset is not None
    return offset.total_seconds()


def test_each_rule_starts_at_a_clock_change_and_no_rule_is_missing() -> None:
    seen = set()
    for name, rules in groupby(time_zones.rules(), key=lambda rule: rule.zone):
        ever, *later = rules
        assert ever.starts_at is None
        seen.add(name)
        zone = days.zone(name)
        before = ever.utc_offset
        left = [(rule.starts_at or 0, rule.utc_offset) for rule in later]
        for month in range(_FIRST, _LAST, _MONTH):
            while left and left[0][0] <= month:
                start, after = left.pop(0)
                assert (offset(zone, start - 1), offset(zone, start)) == (before, after), name
                before = after
            assert offset(zone, month) == before, (name, month)
    assert seen == time_zones.names()
