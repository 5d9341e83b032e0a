"""A report: a finding that answers a question, and charts with tables of their numbers.

HTML and SVG elements are built as a tree, so that all text is escaped.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from xml.etree.ElementTree import Element, tostring

from progress.analysis.questions import FEWEST_LEARNERS, Days

Content = Element | str
RULE = (
    f"Nothing is shown about fewer than {FEWEST_LEARNERS} learners: such rows are left out, also "
    "from averages."
)

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
    return f"{100 * rate:.0f}%"


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
