"""`progress analyse`: questions across learners, answered from the archive."""

import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.analysis import (
    cohorts_report,
    items_report,
    memory_report,
    questions,
    retention_report,
)
from progress.analysis.questions import FEWEST_LEARNERS, Days, Question
from progress.analysis.report import Report, Table, render
from progress.cli import connections

_DATE = ["%Y-%m-%d"]
_NUMBER_WIDTH = 6
_TEXT_WIDTH = 22

First = Annotated[
    datetime | None,
    typer.Option(
        "--from", formats=_DATE, metavar="D", help="Start at this day, local to each learner."
    ),
]
Last = Annotated[
    datetime | None,
    typer.Option(
        "--to", formats=_DATE, metavar="D", help="End with this day, local to each learner."
    ),
]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write charts into a self-contained HTML file.")
]


class Name(StrEnum):
    RETENTION = "retention"
    ITEMS = "items"
    COHORTS = "cohorts"
    MEMORY = "memory"


class By(StrEnum):
    LEVEL = "level"
    DOMAIN = "domain"


class _Plan(NamedTuple):
    question: Question
    build: Callable[[Sequence[Any], Days], Report]
    subject: str  # replaces "…" in "Nothing to show: no … of 20 learners or more."


_PLANS = {
    Name.RETENTION: _Plan(questions.RETENTION, retention_report.build, "week has tests"),
    Name.ITEMS: _Plan(questions.ITEMS, items_report.build, "item, level or domain has tests"),
    Name.COHORTS: _Plan(
        questions.COHORTS, cohorts_report.build, "complete week contains the first study days"
    ),
    Name.MEMORY: _Plan(questions.MEMORY, memory_report.build, "age and stability has tests"),
}


_BY = {
    By.LEVEL: _Plan(
        questions.RETENTION_BY_LEVEL, retention_report.build_by_place, "week and level has tests"
    ),
    By.DOMAIN: _Plan(
        questions.RETENTION_BY_DOMAIN, retention_report.build_by_place, "week and domain has tests"
    ),
}


def analyse(
    question: Annotated[Name, typer.Argument(help="The question.")],
    *,
    by: Annotated[
        By | None, typer.Option(help="Rows of retention for each level or domain of the items.")
    ] = None,
    first: First = None,
    last: Last = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of rows.")] = False,
    html: Html = None,
) -> None:
    """Answer a question across learners from the archive.

    retention: the share of recalled tests, by week and maturity. A test is the first answer to
    an item after a review of this item, if the answer is on a later day than the review.

    items: the items with the smallest share of recalled tests, and the shares of each level and
    domain.

    cohorts: learners by the week of their first study day, and how many of them study
    in each later week. --from and --to select learners by their first study day.

    memory: the estimated and the actual recall, by age of the item and by stability of its memory.
    A test is an answer on a later day than the item's answer before.

    Nothing is reported about fewer than 20 learners.
    """
    if by and question is not Name.RETENTION:
        raise typer.BadParameter("expected the question retention", param_hint="--by")
    plan, days = _BY[by] if by else _PLANS[question], _days(first, last)
    rows = _ask(plan.question, days)
    report = plan.build(rows, days) if rows else None
    if report and html:
        html.write_text(render(report), encoding="utf-8")
    if as_json:
        terminal.print_json(rows)
    else:
        _print(plan, report, html)


def _ask(question: Question, days: Days) -> Sequence[Any]:
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with terminal.progress_bar(console, "reading", total=0) as show_progress:
        return questions.ask(connections.archive(), question, days, show_progress)


def _print(plan: _Plan, report: Report | None, html: Path | None) -> None:
    if report is None:
        typer.echo(
            f"Nothing to show: in the archive, no {plan.subject} of {FEWEST_LEARNERS} learners or "
            "more. It lacks the events since the last `progress archive --now`."
        )
    elif html:
        typer.echo(f"{html}: {report.finding}")
    else:
        _show(report)


def _days(first: datetime | None, last: datetime | None) -> Days:
    days = Days(first.date() if first else date.min, last.date() if last else date.max)
    if days.first > days.last:
        raise typer.BadParameter(
            "expected a day that is not later than the day of --to", param_hint="--from"
        )
    return days


def _show(report: Report) -> None:
    console = Console()
    console.print(Text(report.finding, style="bold"), soft_wrap=True)
    console.print(Text(report.scope), soft_wrap=True)
    for figure in report.figures:
        console.print()
        console.print(Text(figure.table.caption), soft_wrap=True)
        console.print(_fit(figure.table, console.width))
    for note in report.notes:
        console.print()
        console.print(Text(note), soft_wrap=True)


def _fit(table: Table, width: int) -> RichTable:
    """Return the table, with as many columns as the terminal has room for."""
    room = (width - table.texts * _TEXT_WIDTH) // _NUMBER_WIDTH
    columns = table.header[: max(table.texts + room, table.texts + 1)]
    shown = RichTable(
        *(
            Column(name, justify="left" if place < table.texts else "right")
            for place, name in enumerate(columns)
        ),
        box=None,
    )
    for row in table.rows:
        shown.add_row(*map(Text, row[: len(columns)]))
    return shown
