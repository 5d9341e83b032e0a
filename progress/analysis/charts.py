"""Charts of the questions' rows, drawn by Altair, which the extra `charts` installs."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from progress.analysis import questions
from progress.analysis.questions import Question
from progress.errors import ProgressError

_LEAST_RECALLED = 15  # the number of items in the chart


def write(file: Path, question: Question, rows: Sequence[msgspec.Struct]) -> None:
    """Write the chart in the format of the file's suffix: .svg, .png, .html or .json (Vega-Lite).

    Raise ProgressError if a package for this is not installed, or if the suffix is another one.
    """
    form = file.suffix.removeprefix(".")
    if form not in {"svg", "png", "html", "json"}:
        raise ProgressError(f"--chart: expected .svg, .png, .html or .json - found {file.name}")
    for package in ("altair",) if form == "json" else ("altair", "vl_convert"):
        if not importlib.util.find_spec(package):
            why = f"{package} is not installed: pip install 'learner-progress[charts]'"
            raise ProgressError(f"--chart: {why}")
    import altair as alt

    values = {"values": msgspec.to_builtins(rows)}
    chart = _DRAW[question](alt.Chart(values))
    chart.save(file, format=form, inline=form == "html")


def _draw_retention(chart: Any) -> Any:
    return chart.mark_line(point=True).encode(
        x="week:T",
        y="retention_rate:Q",
        color="maturity:N",
        tooltip=["week:T", "maturity:N", "learners:Q", "asked:Q", "recalled:Q"],
    )


def _draw_places(chart: Any) -> Any:
    return _draw_retention(chart).facet("name:N", columns=2)


def _draw_items(chart: Any) -> Any:
    """Draw the least recalled items, which come first, and all levels and domains."""
    chosen = chart.transform_window(place="row_number()", groupby=["kind"]).transform_filter(
        f"datum.kind != 'item' || datum.place <= {_LEAST_RECALLED}"
    )
    return (
        chosen.transform_calculate(label="datum.headword || datum.name")
        .mark_bar()
        .encode(
            x="retention_rate:Q",
            y={"field": "label", "type": "nominal", "sort": {"field": "retention_rate"}},
            tooltip=["name:N", "level:N", "domains:N", "learners:Q", "asked:Q", "recalled:Q"],
        )
        .facet(row="kind:N")
        .resolve_scale(y="independent")
    )


def _draw_cohorts(chart: Any) -> Any:
    return (
        chart.transform_filter("datum.week > 0")
        .mark_rect()
        .encode(
            x="week:O",
            y="cohort:O",
            color="active_rate:Q",
            tooltip=["cohort:O", "week:O", "learners:Q", "active:Q", "active_rate:Q"],
        )
    )


def _draw_memory(chart: Any) -> Any:
    """Draw both recalls of each age and of each stability, without the classes of both."""
    return (
        chart.transform_filter("(datum.age_from === null) != (datum.stability_from === null)")
        .transform_calculate(
            label="datum.age_from === null"
            " ? 'stability from ' + datum.stability_from : 'age from ' + datum.age_from"
        )
        .transform_fold(["actual_recall", "estimated_recall"], as_=["recall", "share"])
        .mark_point(filled=True, size=80)
        .encode(
            x="share:Q",
            y={"field": "label", "type": "nominal", "sort": None},
            color="recall:N",
            tooltip=["label:N", "learners:Q", "tests:Q", "recalled:Q", "estimated_recall:Q"],
        )
    )


_DRAW: dict[Question, Callable[[Any], Any]] = {
    questions.RETENTION: _draw_retention,
    questions.RETENTION_BY_LEVEL: _draw_places,
    questions.RETENTION_BY_DOMAIN: _draw_places,
    questions.ITEMS: _draw_items,
    questions.COHORTS: _draw_cohorts,
    questions.MEMORY: _draw_memory,
}
