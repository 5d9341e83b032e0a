"""RFC 3339 timestamps, parsed exactly into UTC with microseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from progress.errors import SerializationError

RULE = "an RFC 3339 time with an offset"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MOST_AHEAD = timedelta(minutes=10)  # of the clock

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)

PATTERN = (
    r"(\d{4}-\d\d-\d\d)[Tt]((?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)"
    r"(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
)
_TIME = re.compile(PATTERN, re.ASCII)


def to_text(at: datetime) -> str:
    """Return a time as RFC 3339, in milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def describe_future(now: datetime) -> str:
    """Return the reason of an entry that is too far ahead, with the server's time."""
    ahead = f"{MOST_AHEAD.seconds // 60} minutes ahead of the clock"
    return f"expected a time at most {ahead}, which shows {to_text(now)} - at $.occurred_at"


def to_stored(value: Any, where: str) -> str:
    """Return the instant in UTC with microseconds; raise SerializationError outside these years."""
    moment = parse(value, where, is_clipped=False)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse(value: Any, where: str, *, is_clipped: bool = True) -> datetime:
    """Return the instant in UTC; raise SerializationError if the value is not a timestamp.

    Digits after the microseconds are cut off, and `:60` is read as the next second. An instant
    outside the years 1 to 9999 in UTC becomes the first or the last instant of these years, or
    raises SerializationError unless `is_clipped`.
    """
    match = _TIME.fullmatch(value) if type(value) is str else None
    if match is None:
        raise SerializationError(f"expected {RULE} - at {where}")
    date, minute, second, fraction, offset = match.groups()
    leap = second == "60"
    digits = f".{fraction[:6]:0<6}" if fraction else ""
    zone = "+00:00" if offset in "Zz" else offset
    nearest = _FIRST
    if not date.startswith("0000"):
        text = f"{date}T{minute}:{'59' if leap else second}{digits}{zone}"
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise SerializationError(f"expected {RULE} - at {where}") from None
        try:
            return moment.astimezone(UTC) + timedelta(seconds=leap)
        except OverflowError:
            nearest = _FIRST if moment.year == 1 else _LAST
    if not is_clipped:
        raise SerializationError(f"expected {RULE} - at {where}")
    return nearest
