"""The chart and the table of the comparison."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.compare.rows import OWN, Comparison

OUT = Path(".progress/compare")

_WIDTH, _LONGEST = 80, 44  # columns of the chart, and of its longest bar
_COLOURS = ("#4c9be8", "#8a8f98", "#c9a227")
# The chart must not load a font from the network.
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def write(console: Console, compared: Sequence[Comparison], systems: Sequence[str]) -> None:
    """Print the chart and the table, and write both as files."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "table.md").write_text(format_table(compared, systems), encoding="utf-8")
    (OUT / "chart.svg").write_text(draw(compared, systems), encoding="utf-8")
    for one in compared:
        console.print(_bars(one, systems))
    console.print(format_table(compared, systems), soft_wrap=True)
    console.print(f"written to {OUT / 'table.md'} and {OUT / 'chart.svg'}")


def format_table(compared: Sequence[Comparison], systems: Sequence[str]) -> str:
    """Return a Markdown table with the rates of all systems, and the ratios to the peers."""
    peers = [name for name in systems if name != OWN]
    rows = [["what", *systems, *(f"Progress / {peer}" for peer in peers)]]
    rows.append(["---"] * len(rows[0]))
    for one in compared:
        rates = [one.rounds.rate(name, one.unit) for name in systems]
        rows.append([one.what, *rates, *(f"{one.ratio(peer):.2f} ×" for peer in peers)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def draw(compared: Sequence[Comparison], systems: Sequence[str]) -> str:
    """Return the chart as SVG, which loads nothing."""
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        canvas = Console(record=True, width=_WIDTH, file=nowhere, highlight=False)
        for one in compared:
            canvas.print(_bars(one, systems))
        drawn = canvas.export_svg(title="Events or reads per second; longer is better")
    return "\n".join(line.rstrip() for line in _FONT_FACE.sub("", drawn).splitlines()) + "\n"


def _bars(one: Comparison, systems: Sequence[str]) -> RenderableType:
    """Return a bar for each system; the longest bar belongs to the fastest system."""
    fastest = max(one.rounds.median(name) for name in systems)
    bars = Table(title=one.what, title_justify="left", title_style="bold", box=None, padding=0)
    bars.show_header = False
    for name, colour in zip(systems, _COLOURS, strict=False):
        length = max(1, round(_LONGEST * one.rounds.median(name) / fastest))
        rate = one.rounds.rate(name, one.unit)
        bars.add_row(f"{name:<14}", Text.assemble((" " * length, f"on {colour}"), f" {rate}"))
    return Padding(bars, (0, 0, 1, 0))
