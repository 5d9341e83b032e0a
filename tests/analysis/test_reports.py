"""The pages of the reports have charts and tables, and need neither scripts nor a network."""

from collections.abc import Callable
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from progress.analysis import cohorts_report, items_report, memory_report, retention_report
from progress.analysis.questions import (
    FEWEST_LEARNERS,
    Cohort,
    Days,
    Item,
    Memory,
    PlaceRetention,
    Retention,
)
from progress.analysis.report import Report, render
from tests.support import browser

_MONDAY = date(2025, 12, 1)
_LEARNERS = st.integers(FEWEST_LEARNERS, 5_000)
_HEADWORDS = st.none() | st.text(max_size=60) | st.just("<script>alert(1)</script>")


def retention() -> st.SearchStrategy[list[Retention]]:
    """Return a strategy for 1 to 30 rows; no two rows have the same week and maturity."""
    cells = st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(("MATURE", "YOUNG"))),
        unique=True,
        min_size=1,
        max_size=30,
    )
    return cells.flatmap(lambda keys: st.tuples(*(_retention(*key) for key in sorted(keys)))).map(
        list
    )


def _retention(week: int, maturity: Any) -> st.SearchStrategy[Retention]:
    return _tests().map(
        lambda tests: Retention(
            _MONDAY + timedelta(weeks=week), maturity, *tests, retention_rate=tests[2] / tests[1]
        )
    )


def retention_by() -> st.SearchStrategy[list[PlaceRetention]]:
    """Return a strategy for rows of up to three levels or domains."""
    place = st.sampled_from(("A1", "R", "UNKNOWN"))
    return retention().flatmap(
        lambda rows: st.lists(place, min_size=len(rows), max_size=len(rows)).map(
            lambda names: [
                PlaceRetention(**msgspec.structs.asdict(row), name=name)
                for row, name in zip(rows, names, strict=True)
            ]
        )
    )


def _tests() -> st.SearchStrategy[tuple[int, int, int]]:
    """Return a strategy for the fields (learners, asked, recalled) of a row."""
    return st.tuples(_LEARNERS, st.integers(1, 50), st.floats(0, 1)).map(
        lambda one: (one[0], one[0] * one[1], int(one[0] * one[1] * one[2]))
    )


def items() -> st.SearchStrategy[list[Item]]:
    """Return a strategy for rows: items (sorted by retention rate), levels, domains."""
    names = st.lists(st.sampled_from(("A1", "C2", "UNKNOWN")), unique=True)
    domains = st.lists(st.sampled_from(("R", "S", "UNKNOWN")), unique=True)
    listed = st.lists(_item("item", "i1"), max_size=20).map(
        lambda rows: sorted(rows, key=lambda row: row.retention_rate)
    )
    groups = st.tuples(names, domains).flatmap(
        lambda both: st.tuples(
            *(_item("level", name) for name in both[0]),
            *(_item("domain", name) for name in both[1]),
        )
    )
    return st.tuples(listed, groups).map(lambda both: [*both[0], *both[1]]).filter(bool)


def _item(kind: Any, name: str) -> st.SearchStrategy[Item]:
    words = st.tuples(_HEADWORDS, st.sampled_from(("A1", "UNKNOWN")), st.just("RW"))
    described = words if kind == "item" else st.just((None, None, None))
    return st.builds(lambda tests, words: item(kind, name, words, tests), _tests(), described)


def item(
    kind: Any,
    name: str,
    words: tuple[str | None, str | None, str | None],
    tests: tuple[int, int, int],
) -> Item:
    """Return a row; `words` is (headword, level, domains), `tests` (learners, asked, recalled)."""
    learners, asked, recalled = tests
    rate = recalled / asked
    return Item(
        kind, name, *words, learners, asked, recalled, rate, 2 * asked, asked, complete=True
    )


def cohorts() -> st.SearchStrategy[list[Cohort]]:
    """Return a strategy for the rows of cohorts; all cohorts end in the same calendar week."""
    sizes = st.lists(
        st.tuples(st.integers(0, 40), _LEARNERS), unique_by=lambda one: one[0], min_size=1
    )
    return st.builds(decay, sizes.map(sorted), st.integers(0, 5), st.floats(0, 1))


def decay(sizes: list[tuple[int, int]], later: int, kept: float) -> list[Cohort]:
    """Return rows of cohorts; in each week, the share `kept` of the active learners stays active.

    `sizes` has the first week and the number of learners of each cohort.
    """
    newest = sizes[-1][0] + later
    return [
        _cohort(first, week, learners, int(learners * kept**week))
        for first, learners in sizes
        for week in range(newest - first + 1)
    ]


def _cohort(first: int, week: int, learners: int, active: int) -> Cohort:
    few = range(1, FEWEST_LEARNERS)
    is_shown = active >= FEWEST_LEARNERS and learners - active not in few
    return Cohort(
        cohort=_MONDAY + timedelta(weeks=first),
        week=week,
        learners=learners,
        active=active if is_shown else None,
        active_rate=active / learners if is_shown else None,
    )


def memories() -> st.SearchStrategy[list[Memory]]:
    """Return a strategy for rows: the sum, an age, a stability and the class of both."""
    ages, stabilities = st.sampled_from((1, 7, 30, 90, 365)), st.sampled_from((0, 1, 7, 365))
    return st.builds(memory_rows, ages, stabilities, _tests(), st.floats(0, 1), st.floats(0, 7))


def memory_rows(
    age: int, stability: int, tests: tuple[int, int, int], estimate: float, loss: float
) -> list[Memory]:
    return [
        Memory(one, other, *tests, tests[2] / tests[1], estimate, loss, 0.5, 0.1, 0.2)
        for one, other in ((None, None), (age, None), (None, stability), (age, stability))
    ]


pytestmark = pytest.mark.timeout(600)  # a page takes seconds on a busy machine

BUILD: dict[str, tuple[Callable[[Any, Days], Report], st.SearchStrategy[Any]]] = {
    "retention": (retention_report.build, retention()),
    "retention by": (retention_report.build_by_place, retention_by()),
    "items": (items_report.build, items()),
    "cohorts": (cohorts_report.build, cohorts()),
    "memory": (memory_report.build, memories()),
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
    marks.feed(render(report))
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
        assert "UNKNOWN" not in render(report)
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


def test_the_title_compares_the_estimate_with_a_constant() -> None:
    def title(loss: float) -> str:
        rows = memory_rows(7, 0, (20, 50, 40), 0.84, loss)
        return memory_report.build(rows, Days()).finding

    recall = "The estimated recall is 84%, and 80% of tests are recalled; the estimate predicts "
    assert title(0.49) == f"{recall}better than a constant"
    assert title(0.5) == f"{recall}no better than a constant"


def test_the_title_about_cohorts_does_not_contradict_the_table() -> None:
    def title(*shown: int) -> str:
        rows = [row for row in decay([(0, 200)], later=8, kept=0.9) if row.week in {0, *shown}]
        report = cohorts_report.build(rows, Days())
        assert "200 learners in 1 cohort" in report.scope
        assert "cohorts" not in report.scope
        return report.finding

    assert title() == "No share of active learners in a later week can be shown yet"
    assert title(1, 4, 5) == "66% of learners are active 4 weeks after their first week"
    assert title(6, 8) == "53% of learners are active 6 weeks after their first week"
    assert title(1, 2) == "81% of learners are active 2 weeks after their first week"


def test_a_note_says_that_a_week_at_the_edge_of_the_range_is_incomplete() -> None:
    rows = weeks(80, 80)

    def is_noted(first: date, last: date) -> bool:
        report = retention_report.build(rows, Days(first, last))
        return any("incomplete" in note for note in report.notes)

    assert not is_noted(date(2026, 3, 2), date(2026, 3, 15))
    assert is_noted(date(2026, 3, 3), date(2026, 3, 15))
    assert is_noted(date(2026, 3, 2), date(2026, 3, 14))


@pytest.mark.exhaustive
def test_the_pages_are_accessible_in_both_colour_schemes(chromium: Browser, tmp_path: Path) -> None:
    stack = browser.Stack(tmp_path, 0)
    context = chromium.new_context()
    examples: dict[str, list[Any]] = {
        "retention": [*weeks(80, 82, 81), *weeks(70, first=date(2026, 4, 6))],
        "items": [
            item("item", "i1", ("oblige", "B2", "RW"), (20, 50, 12)),
            item("level", "B2", (None, None, None), (20, 50, 12)),
        ],
        "cohorts": decay([(0, 200), (1, 300)], later=6, kept=0.7),
        "memory": memory_rows(7, 0, (20, 50, 12), 0.8, 0.4),
    }
    for name, rows in examples.items():
        file = tmp_path / f"{name}.html"
        file.write_text(render(BUILD[name][0](rows, Days())), encoding="utf-8")
        visit = browser.Visit(stack, context)
        visit.page.goto(file.as_uri())
        visit.page.click("summary")
        assert visit.find_violations() == []
        assert [request.url for request in visit.requests] == [file.as_uri()]
        assert visit.errors == []
