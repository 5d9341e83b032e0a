"""A report as one HTML file that has no scripts and sends no requests."""

from pathlib import Path
from xml.etree.ElementTree import Element

from progress.analysis.report import Figure, Report, Table, element, to_html

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
