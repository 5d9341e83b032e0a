"""The lines of a result, each with a measured value and a bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Line:
    """A measurement and its bar, which is the limit that `value` should meet.

    `value` is a ratio if `unit` is ×.
    """

    what: str
    ours: str
    against: str
    value: float
    bar: float
    unit: str = "×"
    at_most: bool = False

    def __str__(self) -> str:
        details = [text for text in (self.ours, self.against) if text not in ("", self.measured)]
        return "; ".join((f"{self.what}: {self.measured} ({self.bound})", *details))

    @property
    def passes(self) -> bool:
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def bound(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {format_amount(self.bar, self.unit)}"

    @property
    def measured(self) -> str:
        return format_amount(self.value, self.unit)


class Rounds:
    """The measured values of several contenders, round by round."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, contender: str, value: float) -> None:
        self._values.setdefault(contender, []).append(value)

    def median(self, contender: str) -> float:
        return median(self._values[contender])

    def ratio(self, ours: str, theirs: str) -> float:
        """Return the median of the rounds' ratios.

        Each ratio is computed within a round, because the machine's speed varies between rounds.
        """
        pairs = zip(self._values[ours], self._values[theirs], strict=True)
        return median(a / b for a, b in pairs)

    def rate(self, contender: str, what: str = "events") -> str:
        return format_rate(self.median(contender), what)

    def compare_rates(
        self, what: str, ours: str, theirs: str, *, against: str, bar: float, of: str = "events"
    ) -> Line:
        """Return the line with the rates of two contenders.

        The text `against` stands before the rate of the contender `theirs`.
        """
        rates = self.rate(ours, of), f"{against} {self.rate(theirs, of)}"
        return Line(what, *rates, self.ratio(ours, theirs), bar)

    def compare_costs(self, what: str, ours: str, theirs: str, *, against: str, bar: float) -> Line:
        """Return the line with two contenders' costs in milliseconds; the bar is a maximum."""
        own, other = (f"{self.median(one):.1f} ms" for one in (ours, theirs))
        return limit(what, self.ratio(ours, theirs), bar, shown=own, against=f"{against} {other}")


def limit(
    what: str, value: float, bar: float, unit: str = "×", *, shown: str = "", against: str = ""
) -> Line:
    """Return the line of a value that may be at most `bar`; `shown` is the value as text."""
    text = shown or format_amount(value, unit)
    return Line(what, text, against, value, bar, unit, at_most=True)


def limit_p95(what: str, milliseconds: Sequence[float], bar: float) -> Line:
    """Return the line with the 95th percentile, which may be at most `bar` milliseconds."""
    p95 = quantiles(milliseconds, n=20)[-1]
    shown = f"{p95:.1f} ms (median {median(milliseconds):.1f})"
    return limit(f"{what}: 95th percentile", p95, bar, "ms", shown=shown)


def format_rate(per_second: float, what: str = "events") -> str:
    """Format a rate with two or three significant digits."""
    if per_second >= 1_000:
        return f"{per_second / 1_000:.{1 if per_second < 100_000 else 0}f} k {what}/s"
    return f"{per_second:.0f} {what}/s"


def format_amount(value: float, unit: str) -> str:
    digits = 2 if unit == "×" else 0
    return f"{value:,.{digits}f} {unit}"
