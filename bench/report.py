"""Print the result table, and the same table as Markdown for the documents."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.lines import Line

FOOTER = (
    "Most comparisons run in rounds, each of which measures both sides. Their values are medians "
    "over the rounds, and their ratios are the medians of the ratios within the rounds. Ratios "
    "carry over to other machines; absolute numbers do not."
)
_HEADS = ("what", "ours", "against", "measured", "bar", "met")


def show(console: Console, lines: Sequence[Line]) -> None:
    """Print the result table, and the same table as Markdown."""
    table = Table(caption=FOOTER)
    for head in _HEADS:
        table.add_column(head, justify="right" if head in ("measured", "bar") else "left")
    for line in lines:
        table.add_row(*_cells(line), style=None if line.passes else "red")
    console.print(table)
    console.print(markdown(lines), soft_wrap=True, markup=False, highlight=False)


def markdown(lines: Sequence[Line]) -> str:
    """Return the table as Markdown."""
    rows = [_HEADS, tuple("---" for _ in _HEADS), *(_cells(line) for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{FOOTER}\n"


def _cells(line: Line) -> tuple[str, ...]:
    return (line.what, line.ours, line.against, line.measured, line.bound, line.verdict)
