"""Instants as RFC 3339 writes them: read exactly, written as UTC in microseconds."""

import functools
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from progress.errors import SerializationError

RULE = "an RFC 3339 time with an offset"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]((?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)"
    r"(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def read(value: Any, where: str) -> datetime:
    """The instant, in UTC; further digits are cut off, `:60` is the next second.

    SerializationError where the value is none. What UTC has no four-digit year for is the
    first or the last instant that has one.
    """
    found = _TIME.fullmatch(value) if type(value) is str else None
    if found is None:
        raise SerializationError(f"expected {RULE} - at {where}")
    date, minute, second, fraction, offset = found.groups()
    leap = second == "60"
    digits = f".{fraction[:6]:0<6}" if fraction else ""
    zone = "+00:00" if offset in "Zz" else offset
    if date.startswith("0000"):
        return _FIRST
    try:
        moment = datetime.fromisoformat(f"{date}T{minute}:{'59' if leap else second}{digits}{zone}")
    except ValueError:
        raise SerializationError(f"expected {RULE} - at {where}") from None
    try:
        return moment.astimezone(UTC) + timedelta(seconds=leap)
    except OverflowError:
        return _FIRST if moment.year == 1 else _LAST


@functools.lru_cache(maxsize=2_048)  # there are few days: a known one costs a fifth
def day(text: str) -> date:
    """The day that is written as in 2024-03-29; ValueError where it is none."""
    found = date.fromisoformat(text)
    if found.isoformat() != text:  # it is written as a day of a week
        raise ValueError(text)
    return found
