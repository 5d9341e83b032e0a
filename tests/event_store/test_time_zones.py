"""The time zone rules that are written to the database agree with Python's zoneinfo."""

from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from progress.event_store import time_zones
from tests.oracle import days

_FIRST, _LAST = 946_684_800, 2_840_140_800  # the starts of the years 2000 and 2060, in seconds
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
