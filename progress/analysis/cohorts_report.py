"""The report on cohorts: how many learners still study in the weeks after their first week."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from xml.etree.ElementTree import Element

from progress.analysis.questions import Cohort, Days
from progress.analysis.report import RULE, Figure, Report, Table, day, element, percent, span, write

_MOST_COHORTS = 26  # the chart shows only the newest cohorts
_MOST_WEEKS = 20

# The title gives the share of learners who are active this many weeks after their first week, or in
# the nearest week whose share can be shown.
_NAMED_WEEK = 4

_METHOD = (
    "A cohort is the learners whose first study day is in the same week. A study day is a local "
    "day with an answer or a completed session; weeks begin on Monday. A learner is active in each "
    "week in which the learner has a study day. In the row “All”, the share for a week counts only "
    "the cohorts whose share for this week is shown. The newest week of the archive is left out, "
    "because it may be incomplete."
)
_RULE = (
    f"{RULE} A share is the number of active learners divided by the number of all learners of the "
    "cohort. It is hidden if fewer than 20 learners are active, or if 1 to 19 are inactive."
)
_WIDTH = 860
_LEFT, _HEAD, _ROW = 172, 46, 28
_SHADES = 5


def build(rows: Sequence[Cohort], days: Days) -> Report:
    """Return the report on the rows, of which there must be at least one."""
    sizes = {row.cohort: row.learners for row in rows}
    averages = _average(rows)
    begun = span(max(min(sizes), days.first), min(max(sizes) + timedelta(days=6), days.last))
    cohorts = "1 cohort" if len(sizes) == 1 else f"{len(sizes)} cohorts"
    scope = f"First study day {begun} · {sum(sizes.values()):,} learners in {cohorts}"
    shown = sorted(sizes)[-_MOST_COHORTS:]
    title = "Share of learners who study in later weeks, by the week of their first study day"
    if len(shown) < len(sizes):
        title += f" (the newest {len(shown)} cohorts)"
    chart = _draw([row for row in rows if row.cohort in shown], averages)
    return Report(
        _finding(averages), scope, [Figure(title, chart, _table(rows, averages))], [_METHOD, _RULE]
    )


def _average(rows: Sequence[Cohort]) -> dict[int, float]:
    """Return the share of active learners by week, over all cohorts whose share is known."""
    active, learners = Counter[int](), Counter[int]()
    for row in rows:
        if row.active is not None:
            active[row.week] += row.active
            learners[row.week] += row.learners
    return {week: active[week] / learners[week] for week in sorted(active)}


def _finding(averages: dict[int, float]) -> str:
    later = [week for week in averages if week > 0]
    if not later:
        return "No share of active learners in a later week can be shown yet"
    week = min(later, key=lambda week: (abs(week - _NAMED_WEEK), week))
    weeks = "a week" if week == 1 else f"{week} weeks"
    return f"{percent(averages[week])} of learners are active {weeks} after their first week"


def _table(rows: Sequence[Cohort], averages: dict[int, float]) -> Table:
    """Return a row for each cohort, and a column for each week."""
    later = range(1, max(averages) + 1)
    by_cohort: dict[date, dict[int, Cohort]] = {}
    for row in rows:
        by_cohort.setdefault(row.cohort, {})[row.week] = row
    body = [
        (
            *(cohort.isoformat(), f"{cells[0].learners:,}"),
            *(_share(cells.get(week)) for week in later),
        )
        for cohort, cells in by_cohort.items()
    ]
    total = f"{sum(cells[0].learners for cells in by_cohort.values()):,}"
    shares = (percent(averages[week]) if week in averages else "" for week in later)
    body.append(("All", total, *shares))
    header = ("First week", "Learners", *(f"+{week}" for week in later))
    return Table("Share of active learners, by weeks after the first week", header, body)


def _share(cell: Cohort | None) -> str:
    """Return the share of active learners; empty if it is hidden or not known yet."""
    return "" if cell is None or cell.active_rate is None else percent(cell.active_rate)


def _draw(rows: Sequence[Cohort], averages: dict[int, float]) -> Element:
    later = range(1, min(max(averages), _MOST_WEEKS) + 1)
    cohorts = sorted({row.cohort for row in rows})
    wide = min((_WIDTH - _LEFT) / max(len(later), 1), 56.0)
    most = max([row.active_rate or 0.0 for row in rows if row.week in later], default=1.0)
    bottom = _HEAD + _ROW * (len(cohorts) + 1) + 8
    chart = element("svg", viewBox=f"0 0 {_WIDTH} {bottom + 32}")
    _add_head(chart, later, wide)
    _add_row_label(chart, _HEAD, "All", sum(row.learners for row in rows if not row.week))
    for week in averages.keys() & later:
        tip = f"all cohorts, week {week}: {percent(averages[week])} active"
        _add_cell(chart, (week, _HEAD, wide), averages[week], most, tip)
    tops = {cohort: _HEAD + 8 + _ROW * (n + 1) for n, cohort in enumerate(cohorts)}
    for row in rows:
        if row.week == 0:
            _add_row_label(chart, tops[row.cohort], day(row.cohort), row.learners)
        elif row.week <= _MOST_WEEKS and row.active_rate is not None:
            tip = (
                f"first week from {day(row.cohort)}, week {row.week}: {row.active:,} of "
                f"{row.learners:,} learners active"
            )
            _add_cell(chart, (row.week, tops[row.cohort], wide), row.active_rate, most, tip)
    _add_legend(chart, bottom + 12, most)
    return chart


def _add_head(chart: Element, later: Sequence[int], wide: float) -> None:
    second = _HEAD - 10.0
    write(chart, "Weeks after the first", "soft small", _LEFT, 14.0)
    write(chart, "First week from", "soft small", 0, second)
    write(chart, "Learners", "soft small end", _LEFT - 12, second)
    for week in later:
        write(chart, f"{week}", "soft small middle", _LEFT + wide * (week - 0.5), second)


def _add_row_label(chart: Element, top: float, name: str, learners: int) -> None:
    y = top + _ROW / 2 + 4
    write(chart, name, "strong" if name == "All" else "small", 0, y)
    write(chart, f"{learners:,}", "small end", _LEFT - 12, y)


def _add_cell(
    chart: Element, place: tuple[int, float, float], rate: float, most: float, tip: str
) -> None:
    """Draw a cell at (week, top, width), with its share as text."""
    week, top, wide = place
    shade = _shade(rate, most)
    x = _LEFT + wide * (week - 1)
    cell = {"x": x + 1, "y": top + 1, "width": wide - 2, "height": _ROW - 2, "rx": 3}
    chart.append(element("rect", element("title", tip), class_=f"heat-{shade}", **cell))
    ink = "on-dark" if shade >= _SHADES - 2 else "on-light"
    write(chart, percent(rate), f"small middle {ink}", x + wide / 2, top + _ROW / 2 + 4)


def _add_legend(chart: Element, top: float, most: float) -> None:
    write(chart, "Share active", "soft small", 0, top + 12)
    for shade in range(_SHADES):
        x = _LEFT + 104.0 * shade
        box = {"x": x, "y": top, "width": 16, "height": 16, "rx": 3}
        chart.append(element("rect", class_=f"heat-{shade}", **box))
        low, high = (_step(most) * (shade + more) for more in (0, 1))
        write(chart, f"{low}–{high}%", "soft small", x + 22, top + 12)


def _shade(rate: float, most: float) -> int:
    return min(int(100 * rate / _step(most)), _SHADES - 1)


def _step(most: float) -> int:
    """Return how many percentage points one shade covers; all shades together cover 0 to `most`."""
    return max(-(-round(100 * most) // _SHADES), 1)
