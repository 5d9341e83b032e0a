"""FSRS-6: the state of an item's memory, and the interval that follows from it.

The formulas and the parameters are those of sql/read_models/memory.sql, whose comments name the
variables. Here, the state is not rounded, because nothing is stored. Generated learners remember
or forget by the same state.
"""

import functools
import math
import re
from datetime import date

import msgspec

from progress.adapters.postgres.statements import blocks


class ForgettingState(msgspec.Struct, frozen=True):
    """The memory of an item after an answer: `stability` in days, `difficulty` from 1 to 10."""

    stability: float
    difficulty: float
    answered_on: date

    @property
    def interval_days(self) -> int:
        """The whole days, at least one, after which the probability of a right answer is 0.9."""
        return max(round(self.stability), 1)


def recall(state: ForgettingState, day: date) -> float:
    """Return the probability of a right answer, a day or more after the answer before."""
    decay = _parameters()[20]
    factor: float = 0.9 ** (-1 / decay) - 1
    days = max((day - state.answered_on).days, 1)
    return float((1 + factor * days / state.stability) ** -decay)


def follow(before: ForgettingState | None, day: date, grade: int) -> ForgettingState:
    """Return the state after an answer of `grade` 1 (again) to 4 (easy), which may be the first."""
    w = _parameters()
    if before is None:
        return ForgettingState(w[grade - 1], _limit(w[4] - math.exp(w[5] * (grade - 1)) + 1), day)
    s, d = before.stability, before.difficulty
    if day <= before.answered_on:
        growth = math.exp(w[17] * (grade - 3 + w[18])) * s ** -w[19]
        stability = s * (max(growth, 1) if grade >= 2 else growth)
    elif grade == 1:
        relearned = w[11] * d ** -w[12] * ((s + 1) ** w[13] - 1)
        stability = min(
            relearned * math.exp((1 - recall(before, day)) * w[14]), s / math.exp(w[17] * w[18])
        )
    else:
        forgotten = math.exp((1 - recall(before, day)) * w[10]) - 1
        factor = {2: w[15], 3: 1, 4: w[16]}[grade]
        stability = s * (1 + math.exp(w[8]) * (11 - d) * s ** -w[9] * forgotten * factor)
    damped = d + (10 - d) * (-w[6] * (grade - 3)) / 9
    difficulty = w[7] * (w[4] - math.exp(w[5] * 3) + 1 - damped) + damped
    return ForgettingState(min(max(stability, 0.001), 36_500), _limit(difficulty), day)


def _limit(difficulty: float) -> float:
    return min(max(difficulty, 1), 10)


@functools.cache
def _parameters() -> tuple[float, ...]:
    """Return the 21 parameters; the last is the decay."""
    texts = (blocks("read_models/memory")[name] for name in ("parameters", "decay"))
    return tuple(float(number) for text in texts for number in re.findall(r"\d+\.\d+", text))
