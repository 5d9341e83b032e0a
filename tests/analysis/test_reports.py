"""The pages of the reports have charts and tables, and need neither scripts nor a network."""

from collections.abc import Callable
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from progress.analysis import cohorts_report, items_report, page, retention_report
from progress.analysis.questions import Days, Retention
from progress.analysis.report import Report
from tests.support import analysis_rows, browser

pytestmark = pytest.mark.timeout(600)  # a page takes seconds on a busy machine

BUILD: dict[str, tuple[Callable[[Any, Days], Report], st.SearchStrategy[Any]]] = {
    "retention": (retention_report.build, analysis_rows.retention()),
    "items": (items_report.build, analysis_rows.items()),
    "cohorts": (cohorts_report.build, analysis_rows.cohorts()),
}


class Marks(HTMLParser):
    """The elements of a page, and those chart elements that lie outside the view box."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.addresses: list[str] = []
        self._size = (0.0, 0.0)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.addresses += [value for name, value in values.items() if name in {"href", "src"}]
        if tag == "svg":
            _, _, width, height = map(float, values["viewbox"].split())
            self._size = (width, height)
        for names, most in zip(
            (("x", "cx", "x1", "x2"), ("y", "cy", "y1", "y2")), self._size, strict=True
        ):
            for name in names:
                if name in values and not 0 <= float(values[name]) <= most:
                    self.outside.append(f"{tag} {values}")


def read(report: Report) -> Marks:
    marks = Marks()
    marks.feed(page.render(report))
    return marks


@pytest.mark.parametrize("name", BUILD)
def test_a_page_has_charts_with_tables_and_no_scripts_or_addresses(name: str) -> None:
    build, rows = BUILD[name]

    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        report = build(data.draw(rows), Days())
        marks = read(report)
        assert marks.outside == []
        assert marks.addresses == []
        assert "script" not in marks.tags
        charts = len(report.figures)
        assert charts >= 1
        assert [marks.tags.count(tag) for tag in ("svg", "table", "h1")] == [charts, charts, 1]

    check()


def weeks(*rates: int, first: date = date(2026, 3, 2)) -> list[Retention]:
    """Return one row about young items for each rate; the weeks of the rows are consecutive.

    Each week has 1,000 tests. A rate is the percentage of the tests with a correct answer.
    """
    return [
        Retention(first + timedelta(weeks=n), "YOUNG", 40, 1_000, 10 * rate, rate / 100)
        for n, rate in enumerate(rates)
    ]


def test_the_title_names_only_large_changes() -> None:
    def title(*rates: int) -> str:
        return retention_report.build(weeks(*rates), Days()).finding

    change = "Recall of young items fell from 80% in March to 70% in April"
    assert title(80, 80, 80, 80, 70, 70, 70, 70) == change
    assert title(80, 80, 80, 80, 76, 76, 76, 76) == "Learners recalled 78% of young items"
    assert title(80, 80, 80, 70, 70, 70) == "Learners recalled 75% of young items"


def test_the_title_names_a_range_of_months_if_the_compared_weeks_are_not_consecutive() -> None:
    rows = [*weeks(80, 80), *weeks(80, 80, 70, 70, 70, 70, first=date(2026, 4, 27))]
    title = "Recall of young items fell from 80% in March–May to 70% in June"
    assert retention_report.build(rows, Days()).finding == title


def test_a_note_says_that_a_week_at_the_edge_of_the_range_is_incomplete() -> None:
    rows = weeks(80, 80)

    def is_noted(first: date, last: date) -> bool:
        report = retention_report.build(rows, Days(first, last))
        return any("incomplete" in note for note in report.notes)

    assert not is_noted(date(2026, 3, 2), date(2026, 3, 15))
    assert is_noted(date(2026, 3, 3), date(2026, 3, 15))
    assert is_noted(date(2026, 3, 2), date(2026, 3, 14))


def test_the_pages_are_accessible_in_both_colour_schemes(chromium: Browser, tmp_path: Path) -> None:
    stack = browser.Stack(tmp_path, 0)
    context = chromium.new_context()
    examples: dict[str, list[Any]] = {
        "retention": [*weeks(80, 82, 81), *weeks(70, first=date(2026, 4, 6))],
        "items": [
            analysis_rows.item("item", "i1", ("oblige", "B2", "RW"), (20, 50, 12)),
            analysis_rows.item("level", "B2", (None, None, None), (20, 50, 12)),
        ],
        "cohorts": analysis_rows.decay([(0, 200), (1, 300)], later=6, kept=0.7),
    }
    for name, rows in examples.items():
        file = tmp_path / f"{name}.html"
        file.write_text(page.render(BUILD[name][0](rows, Days())), encoding="utf-8")
        visit = browser.Visit(stack, context)
        visit.page.goto(file.as_uri())
        visit.page.click("summary")
        assert visit.find_violations() == []
        assert [request.url for request in visit.requests] == [file.as_uri()]
        assert visit.errors == []
