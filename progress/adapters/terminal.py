"""Progress bars, animated on a terminal; elsewhere, one line is printed at the end."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ReportProgress(Protocol):
    """A function that sets a bar's position and, if given, its new total."""

    def __call__(self, completed: int, total: int | None = None, /) -> None: ...


@contextlib.contextmanager
def progress_bar(console: Console, label: str, total: int) -> Iterator[ReportProgress]:
    """Show a bar from 0 to `total`; yield the function that moves the bar."""
    columns = (
        TextColumn("  {task.description:<11}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda completed, total=None, /: bar.update(task, completed=completed, total=total)
