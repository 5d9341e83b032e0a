"""What a benchmark comes to: a line of the table, with its bar and whether it is met."""

from dataclasses import dataclass
from statistics import median


class LeftOut(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Line:
    """One promise. `value` is a ratio where `unit` is ×."""

    what: str
    ours: str
    against: str
    value: float
    bar: float
    unit: str = "×"
    at_most: bool = False

    @property
    def passes(self) -> bool:
        """Whether the bar is met."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def verdict(self) -> str:
        """`yes`, or by how much it falls short."""
        if self.passes:
            return "yes"
        share = self.value / self.bar if self.at_most else self.bar / self.value
        return f"short by {100 * (share - 1):.0f} %"

    @property
    def bound(self) -> str:
        """The bar, as it is promised."""
        return f"{'≤' if self.at_most else '≥'} {amount(self.bar, self.unit)}"

    @property
    def measured(self) -> str:
        """The value, as it was found."""
        return amount(self.value, self.unit)


class Rounds:
    """What several contenders took, round after round."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, contender: str, value: float) -> None:
        """One more round of a contender."""
        self._values.setdefault(contender, []).append(value)

    def median(self, contender: str) -> float:
        """Of all rounds."""
        return median(self._values[contender])

    def ratio(self, ours: str, theirs: str) -> float:
        """The median of the rounds' ratios: neighbours in time share the machine's moods."""
        pairs = zip(self._values[ours], self._values[theirs], strict=True)
        return median(a / b for a, b in pairs)

    def rate(self, contender: str, what: str = "events") -> str:
        """The median as a rate, for reading."""
        return rate(self.median(contender), what)


def rate(per_second: float, what: str = "events") -> str:
    """So many a second, with two or three digits that count."""
    if per_second >= 1_000:
        return f"{per_second / 1_000:.{1 if per_second < 100_000 else 0}f} k {what}/s"
    return f"{per_second:.0f} {what}/s"


def amount(value: float, unit: str) -> str:
    """A value with its unit."""
    digits = 2 if unit == "×" else 0
    return f"{value:,.{digits}f} {unit}"
