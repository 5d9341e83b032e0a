"""A report: a finding that answers a question, and charts with tables of their numbers.

As a page, it is one HTML file that has no scripts and sends no requests.

HTML and SVG elements are built as a tree, so that all text is escaped.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, tostring

from progress.adapters import terminal
from progress.analysis.questions import FEWEST_LEARNERS, Days

Content = Element | str
RULE = (
    f"Nothing is shown about fewer than {FEWEST_LEARNERS} learners: such rows are left out, also "
    "from averages."
)

DOMAINS = {"R": "Reading", "W": "Writing", "L": "Listening", "S": "Speaking"}

TEST = (
    "A test is the first answer to an item after a review. The answer must be on a later day than "
    "the review, and the review's interval must be at least one day."
)


def element(tag: str, *contents: Content, **attributes: object) -> Element:
    """Return an element; in attribute names, a last `_` is removed, any other `_` becomes `-`.

    Numbers are rounded to a tenth of a pixel.
    """
    made = Element(tag, {_name(key): _text(value) for key, value in attributes.items()})
    for content in contents:
        if isinstance(content, Element):
            made.append(content)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + content
        else:
            made.text = (made.text or "") + content
    return made


def write(chart: Element, text: str, style: str, x: float, y: float) -> None:
    """Add a text to a chart; `style` is its class."""
    chart.append(element("text", text, class_=style, x=x, y=y))


def to_html(root: Element) -> str:
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


class Table(NamedTuple):
    """A table of text; the first `texts` columns contain words, the others numbers."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    texts: int = 1


class Figure(NamedTuple):
    """A chart, with its title, the table of its numbers, and a hint for its readers."""

    title: str
    chart: Element
    table: Table
    hint: str = ""


class Report(NamedTuple):
    """The answer to a question; `notes` explain the method."""

    finding: str
    scope: str
    figures: Sequence[Figure]
    notes: Sequence[str]


def percent(rate: float) -> str:
    """Return a rate from 0 to 1 as whole percent."""
    return f"{terminal.whole_percent(rate)}%"


def day(value: date) -> str:
    """Return a date such as 4 March 2024."""
    return f"{value.day} {value:%B %Y}"


def span(first: date, last: date) -> str:
    """Return two dates as a range; if their year is the same, it is written once."""
    start = f"{first.day} {first:%B}" if first.year == last.year else day(first)
    return f"{start} – {day(last)}"


def describe_days(days: Days) -> str:
    """Return the range of days as text; the range may be open at either end."""
    if days.first == date.min:
        return "The whole archive" if days.last == date.max else f"Until {day(days.last)}"
    if days.last == date.max:
        return f"Since {day(days.first)}"
    return span(days.first, days.last)


_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(report: Report) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy"}, content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", report.finding),
        element("style", _STYLE.read_text(encoding="utf-8")),
    )
    main = element(
        "main",
        element("h1", report.finding),
        element("p", report.scope, class_="scope"),
        *(_figure(figure, number) for number, figure in enumerate(report.figures)),
        element("footer", *(element("p", note) for note in report.notes)),
    )
    return to_html(element("html", head, element("body", main), lang="en"))


def _figure(figure: Figure, number: int) -> Element:
    title = f"figure-{number}"
    figure.chart.set("role", "img")
    figure.chart.set("aria-labelledby", title)
    return element(
        "section",
        element("h2", figure.title, id=title),
        _scrolling(figure.chart, f"Chart: {figure.title}"),
        *([element("p", figure.hint, class_="hint")] if figure.hint else []),
        element(
            "details",
            element("summary", "The numbers as a table"),
            _scrolling(_table(figure.table), f"Table: {figure.title}"),
        ),
    )


def _scrolling(content: Element, label: str) -> Element:
    """Return a box that scrolls sideways on a narrow screen, also by keyboard."""
    return element("div", content, class_="wide", tabindex=0, role="region", aria_label=label)


def _table(table: Table) -> Element:
    return element(
        "table",
        element("caption", table.caption),
        element("thead", element("tr", *_cells(table.header, table.texts, header=True))),
        element("tbody", *(element("tr", *_cells(row, table.texts)) for row in table.rows)),
    )


def _cells(row: tuple[str, ...], texts: int, *, header: bool = False) -> list[Element]:
    cells = []
    for place, text in enumerate(row):
        tag = "th" if header or place == 0 else "td"
        cell = element(tag, text, **({} if place < texts else {"class": "number"}))
        if tag == "th":
            cell.set("scope", "col" if header else "row")
        cells.append(cell)
    return cells
