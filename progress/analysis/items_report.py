"""The report on items: the items that learners forget most, and the recall by level and domain."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from progress.adapters import terminal
from progress.analysis import report
from progress.analysis.questions import Days, Item
from progress.analysis.report import Figure, Report, Table, element, percent, write

_CHARTED = 15
_LISTED = 50
_METHOD = (
    f"{report.TEST} The numbers of an item count only learners who had a test of the item. Levels "
    "and domains come from the item's latest description. A level or domain counts all of its "
    "items, also those with fewer than 20 learners. It leaves these out if their numbers together "
    "would tell of fewer than 20 learners, or if a difference of rows would; then, the table says "
    "that it counts only the shown items. Its number of learners is not a sum: it is the largest "
    "number of learners among its shown items and of its other items together. An item with "
    "several domains counts in each of them."
)
_LETTERS = 26  # the chart cuts headwords that have more letters
_WIDTH = 860
_LEFT, _RIGHT = 232, 614  # the ends of the axis
_ROW = 26
_HEAD, _FOOT = 24, 30


def build(rows: Sequence[Item], days: Days) -> Report:
    """Return the report on the rows, of which there must be at least one."""
    items = [row for row in rows if row.kind == "item"]
    groups = [row for row in rows if row.kind != "item"]
    levels = [row for row in groups if row.kind == "level"] or rows
    asked = sum(row.asked for row in levels)
    average = sum(row.recalled for row in levels) / asked
    figures = [_chart_groups(groups)] if groups else []
    if items:
        figures.insert(0, _chart_items(items, average))
    of_items = sum(row.asked for row in items)
    tests = f"{asked:,} tests, {of_items:,} of them of the {len(items):,} shown items"
    scope = f"{report.describe_days(days)} · {tests}"
    return Report(_finding(items, groups, average), scope, figures, [_METHOD, report.RULE])


def _finding(items: Sequence[Item], groups: Sequence[Item], average: float) -> str:
    """Name the item that was recalled least; if there are no items, the level or domain."""
    least = min(items or groups, key=lambda row: row.retention_rate)
    text = f"is forgotten most: it is recalled in {percent(least.retention_rate)} of tests"
    if items:
        return f"“{_label(least)}” {text}, all items together in {percent(average)}"
    return f"{_label(least)} {text}"


def _chart_items(items: Sequence[Item], average: float) -> Figure:
    shown = items[:_CHARTED]
    title = f"The {len(shown)} least recalled of {len(items):,} items: share of tests recalled"
    table = Table(
        f"The {min(len(items), _LISTED)} least recalled items",
        ("Item", "Level", "Domains", "Learners", "Tests", "Recalled", "Share", "Answers", "Right"),
        [
            (_label(row), _known(row.level), _known(row.domains), *_numbers(row))
            for row in items[:_LISTED]
        ],
        texts=3,
    )
    hint = "A grey line shows how far an item's share is from the share of all items together."
    return Figure(title, _draw_items(shown, average), table, hint)


def _chart_groups(groups: Sequence[Item]) -> Figure:
    table = Table(
        "Levels and domains",
        (
            *("Name", "Kind", "Counts", "Learners, at least", "Tests", "Recalled", "Share"),
            *("Answers", "Right"),
        ),
        [
            (_label(row), row.kind, "all items" if row.complete else "shown items", *_numbers(row))
            for row in groups
        ],
        texts=3,
    )
    return Figure("Share of tests recalled, by level and by domain", _draw_groups(groups), table)


def _numbers(row: Item) -> tuple[str, ...]:
    return (
        *(f"{row.learners:,}", f"{row.asked:,}", f"{row.recalled:,}"),
        *(percent(row.retention_rate), f"{row.answers:,}"),
        percent(row.correct_answers / row.answers),
    )


def _known(value: str | None) -> str:
    """Return the value; empty if the item's description does not name it."""
    return "" if value in {None, "UNKNOWN"} else str(value)


def _label(row: Item) -> str:
    if row.kind == "domain":
        return report.DOMAINS.get(row.name, "No domain")
    if row.kind == "level":
        return _known(row.name) or "No level"
    return terminal.escape(row.headword or row.name)


def _draw_items(items: Sequence[Item], average: float) -> Element:
    bottom = _HEAD + _ROW * len(items)
    chart = element("svg", viewBox=f"0 0 {_WIDTH} {bottom + _FOOT}")
    longest = math.ceil(10 * max(average, *(row.retention_rate for row in items)) or 1) / 10
    _add_axis(chart, bottom, longest)
    x = _x(average / longest)
    chart.append(element("line", class_="average", x1=x, x2=x, y1=_HEAD - 6, y2=bottom))
    write(chart, f"all items {percent(average)}", "soft small middle", x, _HEAD - 10)
    for place, row in enumerate(items):
        middle = _HEAD + _ROW * (place + 0.5)
        _add_label(chart, row, middle)
        end = _x(row.retention_rate / longest)
        stem = {"x1": end, "x2": x, "y1": middle, "y2": middle}
        chart.append(element("line", class_="stem", **stem))
        chart.append(element("circle", _tip(row), class_="mark", cx=end, cy=middle, r=5.5))
        _add_numbers(chart, row, middle)
    return chart


def _draw_groups(groups: Sequence[Item]) -> Element:
    chart = element("svg")
    top = 10.0
    for before, row in zip([None, *groups], groups, strict=False):
        if before is not None and before.kind != row.kind:
            top += 14
        middle = top + _ROW / 2
        _add_label(chart, row, middle)
        place = {"x": _LEFT, "y": middle - 8, "height": 16}
        full = _RIGHT - _LEFT
        chart.append(element("rect", class_="heat-0", width=full, rx=3, **place))
        wide = full * row.retention_rate
        chart.append(element("rect", _tip(row), class_="bar", width=wide, rx=3, **place))
        _add_numbers(chart, row, middle)
        top += _ROW
    chart.set("viewBox", f"0 0 {_WIDTH} {top + 6:.0f}")
    return chart


def _add_axis(chart: Element, bottom: float, longest: float) -> None:
    """Draw the ticks of an axis that begins at 0 and ends at the rate `longest`."""
    end = round(100 * longest)
    for tick in range(0, end + 1, 10 if end <= 60 else 20):
        x = _x(tick / end)
        chart.append(element("line", class_="rule", x1=x, x2=x, y1=_HEAD, y2=bottom))
        write(chart, f"{tick}%", "soft small middle", x, bottom + 18)


def _add_label(chart: Element, row: Item, middle: float) -> None:
    text = _label(row)
    if len(text) > _LETTERS:
        text = text[: _LETTERS - 1] + "…"
    write(chart, text, "end", _LEFT - 46, middle + 4.5)
    if level := _known(row.level):
        write(chart, level, "soft small", _LEFT - 36, middle + 4.5)


def _add_numbers(chart: Element, row: Item, middle: float) -> None:
    """Write the share and the numbers of tests and learners to the right of the axis."""
    write(chart, percent(row.retention_rate), "strong end", _RIGHT + 48, middle + 4.5)
    text = f"of {row.asked:,} tests, {row.learners:,} learners"
    write(chart, text, "soft small", _RIGHT + 56, middle + 4.5)


def _tip(row: Item) -> Element:
    return element("title", f"{_label(row)}: {row.recalled:,} of {row.asked:,} tests recalled")


def _x(share: float) -> float:
    """Return the x coordinate of a share from 0 (left end of the axis) to 1 (right end)."""
    return _LEFT + (_RIGHT - _LEFT) * share
