"""`progress analyse`: questions across learners, answered from the archive."""

import csv
import sys
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.analysis import charts, questions
from progress.analysis.questions import FEWEST_LEARNERS, Days, Question
from progress.cli import connections

_DATE = ["%Y-%m-%d"]
_TABLE_WIDTH = 140  # of the widest rows, those of memory

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
Chart = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw a chart: .svg, .png, .html or .json (Vega-Lite)."),
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
    subject: str  # replaces "…" in "Nothing to show: no … of 20 learners or more."


_PLANS = {
    Name.RETENTION: _Plan(questions.RETENTION, "week has tests"),
    Name.ITEMS: _Plan(questions.ITEMS, "item, level or domain has tests"),
    Name.COHORTS: _Plan(questions.COHORTS, "complete week contains the first study days"),
    Name.MEMORY: _Plan(questions.MEMORY, "age and stability has tests"),
}

_BY = {
    By.LEVEL: _Plan(questions.RETENTION_BY_LEVEL, "week and level has tests"),
    By.DOMAIN: _Plan(questions.RETENTION_BY_DOMAIN, "week and domain has tests"),
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
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a line of names.")] = False,
    chart: Chart = None,
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
    if as_json and as_csv:
        raise typer.BadParameter("expected --json or --csv, not both")
    plan = _BY[by] if by else _PLANS[question]
    days = Days(first.date() if first else date.min, last.date() if last else date.max)
    if days.first > days.last:
        why = "expected a day that is not later than the day of --to"
        raise typer.BadParameter(why, param_hint="--from")
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with terminal.progress_bar(console, "reading", total=0) as show_progress:
        rows = questions.ask(connections.archive(), plan.question, days, show_progress)
    if rows and chart:
        charts.write(chart, plan.question, rows)
    if as_json:
        terminal.print_json(rows)
    elif as_csv:
        print_csv(plan.question, rows)
    elif rows:
        print_table(plan.question, rows)
    else:
        typer.echo(
            f"Nothing to show: in the archive, no {plan.subject} of {FEWEST_LEARNERS} learners or "
            "more. It lacks the events since the last `progress archive --now`."
        )


def print_csv(question: Question, rows: Sequence[msgspec.Struct]) -> None:
    written = csv.writer(sys.stdout, lineterminator="\n")
    written.writerow(question.row.__struct_fields__)
    for row in rows:
        written.writerow(
            # As in the exports, an apostrophe precedes a text that a spreadsheet would run.
            f"'{value}"
            if isinstance(value, str) and value[:1] in set("-=+@＝＋－＠'\t ")
            else value
            for value in msgspec.structs.astuple(row)
        )


def print_table(question: Question, rows: Sequence[msgspec.Struct]) -> None:
    table = Table(box=None)
    for name in question.row.__struct_fields__:
        is_number = any(isinstance(getattr(row, name), int | float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(Text, format_cells(row)))
    console = Console()
    console.print(f"{question.name}, without rows about fewer than {FEWEST_LEARNERS} learners:")
    console.width = max(console.width, _TABLE_WIDTH)  # a narrower terminal breaks the lines
    console.print(table)


def format_cells(row: msgspec.Struct) -> list[str]:
    """Return the row's values as text: rates and losses are rounded, and None is empty."""
    return [_format(value) for value in msgspec.structs.astuple(row)]


def _format(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else terminal.escape(str(value))
