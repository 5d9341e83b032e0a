"""The report on memory: estimated and actual recall, by age of the items and by stability."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from progress.analysis import report
from progress.analysis.questions import Days, Memory
from progress.analysis.report import Figure, Report, Table, element, percent, write

_AGES = {1: "1–6 days", 7: "7–29 days", 30: "30–89 days", 90: "90–364 days", 365: "a year or more"}
_STABILITIES = {0: "under a day", 1: "1–7 days", 7: "7–30 days", 30: "30–90 days"}
_STABILITIES |= {90: "90–365 days", 365: "a year or more"}
_METHOD = (
    "A test is an answer on a later day than the item's answer before. Its estimated recall is "
    "computed by FSRS-6 from the earlier answers to the item, each right or wrong. The age is the "
    "time since the item's first answer. The stability is the time after which the estimated "
    "recall falls to 90%."
)
_LOSSES = (
    "The losses say how far the estimates are from the results; less is better. Log loss is the "
    "mean of the negative logarithms of the probabilities given to the results. RMSE (bins) "
    "compares the mean estimate with the share recalled, in bins of tests with similar gaps, "
    "numbers of answers and lapses, as srs-benchmark does. The constant is the share of all tests "
    "that were recalled. A number of learners of a sum is the largest of its classes."
)
_HINT = "A dot is the share recalled, a vertical line the mean estimated recall."
_WIDTH = 860
_LEFT, _RIGHT = 232, 614  # the ends of the axis
_HEAD, _ROW, _FOOT = 10, 26, 30


def build(rows: Sequence[Memory], days: Days) -> Report:
    """Return the report on the rows, of which there must be at least one."""
    total = rows[0]
    sums = [row for row in rows[1:] if row.age_from is None or row.stability_from is None]
    title = "Estimated and actual recall, by age of the item and by stability"
    figure = Figure(title, _draw(sums), _table(rows), _HINT)
    scope = f"{report.describe_days(days)} · {total.tests:,} tests"
    return Report(_finding(total), scope, [figure], [_METHOD, _LOSSES, report.RULE])


def _finding(total: Memory) -> str:
    is_better = total.log_loss < total.constant_log_loss
    return (
        f"The estimated recall is {percent(total.estimated_recall)}, and "
        f"{percent(total.actual_recall)} of tests are recalled; the estimate predicts "
        f"{'better' if is_better else 'no better'} than a constant"
    )


def _table(rows: Sequence[Memory]) -> Table:
    return Table(
        "Tests by age of the item and by stability",
        (
            *("Age", "Stability", "Learners", "Tests", "Estimated", "Recalled"),
            *("Log loss", "of a constant", "RMSE (bins)", "of a constant"),
        ),
        [
            (
                "all" if row.age_from is None else _AGES[row.age_from],
                "all" if row.stability_from is None else _STABILITIES[row.stability_from],
                *(f"{row.learners:,}", f"{row.tests:,}"),
                *(percent(row.estimated_recall), percent(row.actual_recall)),
                *(f"{row.log_loss:.3f}", f"{row.constant_log_loss:.3f}"),
                *(f"{row.rmse_bins:.3f}", f"{row.constant_rmse_bins:.3f}"),
            )
            for row in rows
        ],
        texts=2,
    )


def _draw(rows: Sequence[Memory]) -> Element:
    bottom = _HEAD + _ROW * len(rows) + 14
    chart = element("svg", viewBox=f"0 0 {_WIDTH} {bottom + _FOOT}")
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        chart.append(element("line", class_="rule", x1=x, x2=x, y1=_HEAD, y2=bottom))
        write(chart, f"{tick}%", "soft small middle", x, bottom + 18)
    for place, row in enumerate(rows):
        is_age = row.age_from is not None
        middle = _HEAD + _ROW * (place + 0.5) + (0 if is_age else 14)
        _add_row(chart, row, middle)
    return chart


def _add_row(chart: Element, row: Memory, middle: float) -> None:
    age, stability = row.age_from, row.stability_from
    name = f"age {_AGES[age]}" if age is not None else f"stability {_STABILITIES[stability or 0]}"
    write(chart, name, "end", _LEFT - 14, middle + 4.5)
    tip = element(
        "title",
        f"{name}: estimated recall {percent(row.estimated_recall)}, "
        f"{row.recalled:,} of {row.tests:,} tests recalled",
    )
    actual, estimated = _x(row.actual_recall), _x(row.estimated_recall)
    stem = {"x1": actual, "x2": estimated, "y1": middle, "y2": middle}
    chart.append(element("line", class_="stem", **stem))
    line = {"x1": estimated, "x2": estimated, "y1": middle - 8, "y2": middle + 8}
    chart.append(element("line", class_="young line", **line))
    chart.append(element("circle", tip, class_="mark", cx=actual, cy=middle, r=5.5))
    write(chart, percent(row.actual_recall), "strong end", _RIGHT + 48, middle + 4.5)
    text = f"of {row.tests:,} tests, {row.learners:,} learners"
    write(chart, text, "soft small", _RIGHT + 56, middle + 4.5)


def _x(share: float) -> float:
    """Return the x coordinate of a share from 0 (left end of the axis) to 1 (right end)."""
    return _LEFT + (_RIGHT - _LEFT) * share
