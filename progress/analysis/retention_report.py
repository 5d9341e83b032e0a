"""The report on retention: the share of recalled tests by week, with a line for each maturity."""

import math
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import groupby
from xml.etree.ElementTree import Element

from progress.analysis import report
from progress.analysis.questions import Days, PlaceRetention, Retention
from progress.analysis.report import Figure, Report, Table, element, percent, write

_NAMES = {"MATURE": "mature", "YOUNG": "young"}
_MEANINGS = {"MATURE": "interval of 21 days or more", "YOUNG": "interval of 1–20 days"}
_METHOD = (
    f"{report.TEST} If this interval is 21 days or more, the item is mature, otherwise young. Days "
    "are local days of the learner; weeks begin on Monday."
)
_TITLE = (
    "For each maturity, the share of the first four weeks is compared with the share of the last "
    "four weeks. The title names the largest change of at least 5 points and at least two standard "
    "errors. If there is no such change, the title names the share of all weeks together for each "
    "maturity."
)
_HINT = (
    "Each label shows the last week's share. Weeks with fewer than 20 learners are gaps in a line."
)
_PLACES = (
    "The level and the domains come from the item's latest description. An item with several "
    "domains counts in each of them. A level or domain is also left out of a week if a sum or "
    "difference of rows, or of the rows without levels or domains, could tell of fewer than 20 "
    "learners."
)
_COMPARED_WEEKS = 4  # the first 4 weeks are compared with the last 4
_LEFT, _RIGHT, _WIDTH = 48, 690, 860
_MARGIN = 24  # distance of the outer bars' centres from the ends of the axis: half a bar, and a gap
_TOP, _BOTTOM = 14, 274
_VOLUME_TOP, _VOLUME_BOTTOM, _HEIGHT = 314, 364, 392
_WEEK = timedelta(days=7)


def build(rows: Sequence[Retention], days: Days) -> Report:
    """Return the report on the rows, of which there must be at least one."""
    weeks = sorted({row.week for row in rows})
    asked = sum(row.asked for row in rows)
    last = min(weeks[-1] + timedelta(days=6), days.last)
    notes = [_METHOD, _TITLE, report.RULE]
    if (days.first > weeks[0]) or (last < weeks[-1] + timedelta(days=6)):
        notes.append("The first or last week is incomplete, because the range of days cuts it.")
    title = "Share of tests that were recalled, by week"
    figure = Figure(title, _draw(rows, weeks), _table(rows), _HINT)
    scope = f"{report.span(max(weeks[0], days.first), last)} · {asked:,} tests"
    return Report(_finding(rows), scope, [figure], notes)


def build_by_place(rows: Sequence[PlaceRetention], days: Days) -> Report:
    """Return the report with a chart for each level or domain; there must be at least one row."""
    whole = build(rows, days)
    figures, shares = [], {}
    for name in sorted({row.name for row in rows}):
        chosen = [row for row in rows if row.name == name]
        label = report.DOMAINS.get(name, "Not known" if name == "UNKNOWN" else name)
        title = f"{label}: share of tests that were recalled, by week"
        weeks = sorted({row.week for row in chosen})
        figures.append(Figure(title, _draw(chosen, weeks), _table(chosen), _HINT))
        shares[label] = _pool(chosen)[0]
    finding = "Share of tests recalled: " + ", ".join(f"{n} {percent(shares[n])}" for n in shares)
    notes = [note for note in whole.notes if note != _TITLE]
    scope, _, _ = whole.scope.rpartition(" · ")  # tests of several domains would count repeatedly
    return Report(finding, scope, figures, [_PLACES, *notes])


def _finding(rows: Sequence[Retention]) -> str:
    """Return the finding as one sentence.

    The sentence names the largest change in a maturity's recall. If nothing has changed, it names
    the recall of each maturity.
    """
    changes = [change for name in _NAMES if (change := _change(_of(rows, name)))]
    if changes:
        name, before, after = max(changes, key=lambda change: abs(change[2] - change[1]))
        weeks = [row.week for row in _of(rows, name)]
        form = "%B" if weeks[0].year == weeks[-1].year else "%B %Y"
        begin = _months(weeks[0], weeks[_COMPARED_WEEKS - 1], weeks[0], form)
        end = _months(weeks[-_COMPARED_WEEKS], weeks[-1], weeks[-1], form)
        return (
            f"Recall of {_NAMES[name]} items {'rose' if after > before else 'fell'} from "
            f"{percent(before)} in {begin} to {percent(after)} in {end}"
        )
    shares = [
        f"{percent(_pool(chosen)[0])} of {_NAMES[name]} items"
        for name in _NAMES
        if (chosen := _of(rows, name))
    ]
    return f"Learners recalled {' and '.join(shares)}"


def _months(first: date, last: date, named: date, form: str) -> str:
    """Return a name for the four weeks from `first` to `last`: the month that contains `named`.

    `named` is `first` or `last`. If the four weeks are not consecutive, the name consists of the
    months of `first` and `last`.
    """
    if last - first < _COMPARED_WEEKS * _WEEK:
        return f"{named:{form}}"
    return f"{first:{form}}–{last:{form}}"


def _change(rows: Sequence[Retention]) -> tuple[str, float, float] | None:
    """Return the rows' maturity, the share of the first four weeks, and that of the last four.

    Return None if there are fewer than eight weeks. Also return None if the two shares differ by
    less than 5 points or by less than two standard errors.
    """
    if len(rows) < 2 * _COMPARED_WEEKS:
        return None
    before, many = _pool(rows[:_COMPARED_WEEKS])
    after, more = _pool(rows[-_COMPARED_WEEKS:])
    error = math.sqrt(before * (1 - before) / many + after * (1 - after) / more)
    if abs(after - before) < max(0.05, 2 * error):
        return None
    return rows[0].maturity, before, after


def _pool(rows: Sequence[Retention]) -> tuple[float, int]:
    """Return the share of all tests that were recalled, and the number of tests."""
    asked = sum(row.asked for row in rows)
    return sum(row.recalled for row in rows) / asked, asked


def _of(rows: Sequence[Retention], maturity: str) -> list[Retention]:
    return [row for row in rows if row.maturity == maturity]


def _table(rows: Sequence[Retention]) -> Table:
    return Table(
        "Tests by week and maturity",
        ("Week from", "Maturity", "Learners", "Tests", "Recalled", "Share"),
        [
            (
                *(row.week.isoformat(), _NAMES[row.maturity], f"{row.learners:,}"),
                *(f"{row.asked:,}", f"{row.recalled:,}", percent(row.retention_rate)),
            )
            for row in rows
        ],
        texts=2,
    )


def _draw(rows: Sequence[Retention], weeks: Sequence[date]) -> Element:
    low, high = _range([row.retention_rate for row in rows])
    chart = element("svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}")

    def x(week: date) -> float:
        steps = (weeks[-1] - weeks[0]) / _WEEK
        return (
            _LEFT
            + _MARGIN
            + (_RIGHT - _LEFT - 2 * _MARGIN) * ((week - weeks[0]) / _WEEK / steps if steps else 0.5)
        )

    def y(rate: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (rate - low) / (high - low)

    step = 10 if high - low <= 0.6 else 20
    for tick in range(round(100 * low), round(100 * high) + 1, step):
        at = y(tick / 100)
        chart.append(element("line", class_="rule", x1=_LEFT, x2=_RIGHT, y1=at, y2=at))
        write(chart, f"{tick}%", "soft small end", _LEFT - 8, at + 4)
    labels = []
    for maturity, name in _NAMES.items():
        points = [(row, x(row.week), y(row.retention_rate)) for row in _of(rows, maturity)]
        _add_line(chart, name, points)
        if points:
            labels.append((points[-1][2], maturity, points[-1][0]))
    _add_labels(chart, labels)
    _add_volume(chart, rows, weeks, x)
    return chart


def _range(rates: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: multiples of 0.1 around the rates, at least 0.2 apart."""
    low, high = math.floor(10 * min(rates)) / 10, math.ceil(10 * max(rates)) / 10
    if high - low < 0.2:
        low = max(low - 0.1, 0.0)
    return (low, high) if high - low >= 0.2 else (low, min(low + 0.2, 1.0))


def _add_line(chart: Element, name: str, points: Sequence[tuple[Retention, float, float]]) -> None:
    """Draw a line with gaps at missing weeks, and a dot with a tooltip for each week."""
    by_run = groupby(enumerate(points), lambda pair: pair[1][0].week - pair[0] * _WEEK)
    for _, run in by_run:
        place = " ".join(f"{x:.1f},{y:.1f}" for _, (_, x, y) in run)
        chart.append(element("polyline", class_=f"{name} line", points=place))
    for row, x, y in points:
        tip = (
            f"{name}, week from {report.day(row.week)}: {percent(row.retention_rate)} of "
            f"{row.asked:,} tests recalled, {row.learners:,} learners"
        )
        dot = element("circle", element("title", tip), class_=f"{name} dot", cx=x, cy=y, r=3)
        chart.append(dot)


def _add_labels(chart: Element, labels: list[tuple[float, str, Retention]]) -> None:
    """Name each line at its end; labels that would overlap are moved apart."""
    gap = 40.0
    places = sorted(labels)
    heights = [min(max(place[0], _TOP + 4), _BOTTOM - 22) for place in places]
    if len(heights) == 2 and heights[1] - heights[0] < gap:
        middle = min(max(sum(heights) / 2, _TOP + 4 + gap / 2), _BOTTOM - 22 - gap / 2)
        heights = [middle - gap / 2, middle + gap / 2]
    for (_, maturity, row), height in zip(places, heights, strict=True):
        name = _NAMES[maturity]
        title = f"{name.capitalize()} {percent(row.retention_rate)}"
        write(chart, title, f"strong {name}", _RIGHT + 14, height + 4)
        write(chart, _MEANINGS[maturity], "soft small", _RIGHT + 14, height + 20)


def _add_volume(
    chart: Element, rows: Sequence[Retention], weeks: Sequence[date], x: Callable[[date], float]
) -> None:
    """Draw a bar for the number of tests in each week, and write the months below the bars."""
    asked = {week: sum(row.asked for row in rows if row.week == week) for week in weeks}
    most = max(asked.values())
    wide = max(min(0.7 * (x(weeks[0] + _WEEK) - x(weeks[0])), 40.0), 1.0) if weeks[1:] else 40.0
    write(chart, f"Tests per week, at most {most:,}", "soft small", _LEFT, _VOLUME_TOP - 8)
    for week, count in asked.items():
        high = (_VOLUME_BOTTOM - _VOLUME_TOP) * count / most
        tip = element("title", f"week from {report.day(week)}: {count:,} tests")
        place = {"x": x(week) - wide / 2, "y": _VOLUME_BOTTOM - high, "width": wide, "height": high}
        chart.append(element("rect", tip, class_="volume", **place))
    edge = {"x1": _LEFT, "x2": _RIGHT, "y1": _VOLUME_BOTTOM, "y2": _VOLUME_BOTTOM}
    chart.append(element("line", class_="axis", **edge))
    free = 0.0
    for before, week in zip([None, *weeks], weeks, strict=False):
        is_new = before is None or (before.year, before.month) != (week.year, week.month)
        if is_new and x(week) >= free:
            text = f"{week:%b %Y}" if before is None or before.year != week.year else f"{week:%b}"
            write(chart, text, "soft small middle", x(week), _VOLUME_BOTTOM + 18)
            free = x(week) + 48
