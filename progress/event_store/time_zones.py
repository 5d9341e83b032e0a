"""UTC offsets of every time zone, from the pinned tzdata package instead of PostgreSQL's data."""

import functools
import io
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import msgspec
import tzdata

VERSION: str = tzdata.IANA_VERSION

_FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(2100, 1, 2, tzinfo=UTC).timestamp())  # 2099 has ended everywhere
# `_by_rule` searches for offset changes in steps of this many seconds. A step contains at most one
# change, because the changes of a yearly rule are at least five months apart.
_STEP = 60 * 86_400


class Rule(msgspec.Struct, frozen=True):
    """A zone's offset, in seconds ahead of UTC, which applies from `starts_at` on.

    `starts_at` is Unix time. It is None for a zone's first rule, which has no start.
    """

    zone: str
    starts_at: int | None
    utc_offset: int


@functools.cache
def names() -> frozenset[str]:
    text = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(text.split())


def rules() -> Iterator[Rule]:
    """Yield the rules of all zones from 2000 to 2099, ordered by zone and start."""
    files = resources.files("tzdata.zoneinfo")
    for name in sorted(names()):
        first, *later = _changes(files.joinpath(*name.split("/")).read_bytes())
        yield Rule(name, None, first[1])
        yield from (Rule(name, start, offset) for start, offset in later)


@functools.cache
def encode_rules() -> str:
    """Return the rules as JSON; the first call takes a second."""
    return msgspec.json.encode(list(rules())).decode()


@functools.cache
def _changes(file: bytes) -> tuple[tuple[int, int], ...]:
    """Return the offset changes of a TZif file (RFC 9636); cached, because many files are equal."""
    zone = ZoneInfo.from_file(io.BytesIO(file))
    changes = [(_FIRST, _offset(zone, _FIRST))]
    for instant in _candidates(file, zone):
        if (offset := _offset(zone, instant)) != changes[-1][1]:
            changes.append((instant, offset))
    return tuple((instant, int(offset.total_seconds())) for instant, offset in changes)


def _candidates(file: bytes, zone: ZoneInfo) -> Iterator[int]:
    """Yield every instant at which the offset may change."""
    transitions = [t for t in _transitions(file) if _FIRST < t < _LAST]
    yield from transitions
    rule = file.rstrip(b"\n").rpartition(b"\n")[2]
    if b"," in rule:  # a yearly rule, which applies after the last transition
        start = max([_FIRST, *transitions])
        if (rule, start) not in _yearly_changes:
            _yearly_changes[rule, start] = tuple(_by_rule(zone, start))
        yield from _yearly_changes[rule, start]


# Keyed by rule and start; cached, because most zones of a continent share one rule.
_yearly_changes: dict[tuple[bytes, int], tuple[int, ...]] = {}


def _transitions(file: bytes) -> tuple[int, ...]:
    """Return the transition times in the file's second block, which has 64 bits per time."""
    first = struct.unpack(">6l", file[20:44])
    isutc, isstd, leap, times, types, chars = first
    start = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isutc
    count = struct.unpack(">6l", file[start + 20 : start + 44])[3]
    return struct.unpack(f">{count}q", file[start + 44 : start + 44 + count * 8])


def _by_rule(zone: ZoneInfo, start: int) -> Iterator[int]:
    before = _offset(zone, start)
    for low in range(start, _LAST, _STEP):
        after = _offset(zone, low + _STEP)
        if before != after:
            yield _bisect(zone, low, low + _STEP, before)
        before = after


def _bisect(zone: ZoneInfo, low: int, high: int, before: timedelta) -> int:
    """Return the earliest second after `low` and up to `high` whose offset is not `before`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _offset(zone: ZoneInfo, instant: int) -> timedelta:
    return datetime.fromtimestamp(instant, zone).utcoffset() or timedelta()
