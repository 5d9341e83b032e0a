"""SM-2, the algorithm that computes the number of days until the next review of an item.

P. A. Wozniak, Optimization of learning, 1990, chapter 3.2:
https://super-memory.com/english/ol/sm2.htm
"""

import math
from datetime import datetime, timedelta

import msgspec

_LOWEST_EASINESS = 1.3
_LONGEST_INTERVAL = 36_500  # days

# In step 7 of SM-2, items with wrong answers are repeated on the same day until they are right.
# These repetitions do not change the interval. Here, "the same day" means less than 12 hours later,
# so that time zones have no effect.
_DAY_GAP = timedelta(hours=12)


class Sm2Memory(msgspec.Struct, frozen=True):
    """The state of an item after a repetition."""

    repeated_at: datetime
    repetitions: int = 0  # successful repetitions in a row
    easiness: float = 2.5
    interval_days: int = 0


def repeat(before: Sm2Memory | None, at: datetime, rating: int) -> Sm2Memory:
    """Return the memory after an answer with the rating 1 (again) to 4 (easy): SM-2's 2 to 5."""
    if before is None:
        return _update(Sm2Memory(at), at, rating)
    if at - before.repeated_at < _DAY_GAP:
        return before
    return _update(before, at, rating)


def _update(before: Sm2Memory, at: datetime, rating: int) -> Sm2Memory:
    missing = 4 - rating
    easiness = before.easiness + 0.1 - missing * (0.08 + missing * 0.02)
    easiness = round(max(easiness, _LOWEST_EASINESS), 2)
    if rating == 1:
        return Sm2Memory(at, 0, easiness, 1)
    days = _next_interval(before)
    return Sm2Memory(at, before.repetitions + 1, easiness, min(days, _LONGEST_INTERVAL))


def _next_interval(before: Sm2Memory) -> int:
    if before.repetitions == 0:
        return 1
    if before.repetitions == 1:
        return 6
    return math.ceil(round(before.interval_days * before.easiness, 6))
