"""Progress bars: on a terminal they move, elsewhere one line says what was done."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Reached(Protocol):
    """Tells a bar how far it is, and that its end is another than was thought."""

    def __call__(self, reached: int, total: int | None = None, /) -> None: ...


@contextlib.contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Reached]:
    """A bar from 0 to `total`; it is told how far it is."""
    columns = (
        TextColumn("  {task.description:<11}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda reached, total=None, /: bar.update(task, completed=reached, total=total)
