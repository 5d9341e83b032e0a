"""Output to a terminal: plain text without markup and control characters, JSON, progress bars."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

_UNUSUAL = re.compile(r"[^ -~]")
_UNUSUAL_IN_JSON = re.compile(r"[^\n -~]")  # indented JSON has line breaks between its values


class ReportProgress(Protocol):
    """A function that sets a bar's position and, if given, its new total."""

    def __call__(self, completed: int, total: int | None = None, /) -> None: ...


class Console(rich.console.Console):  # noqa: TID251 - other modules use this class
    """A console that prints every string, also in the cells of a table, as plain text.

    Square brackets are no markup. Unprintable characters are escaped, because stored and imported
    text comes from others.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escape(text), **options)


def escape(text: str) -> str:
    r"""Return the text on one line, with each unprintable character as an escape such as \x1b.

    Unprintable are control characters, line breaks, characters that change the direction of text,
    and all spaces except U+0020.
    """
    return _UNUSUAL.sub(
        lambda found: found[0] if found[0].isprintable() else ascii(found[0])[1:-1], text
    )


def print_json(value: object, *, is_indented: bool = False) -> None:
    """Print the value as JSON, in one line unless `is_indented`; escape unprintable characters."""
    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded) if is_indented else encoded).decode()
    print(_UNUSUAL_IN_JSON.sub(_escape_in_json, text), flush=True)


def _escape_in_json(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def whole_percent(rate: float) -> int:
    """Return a rate from 0 to 1 in percent: 100 only for all, and 0 only for none."""
    rounded = round(100 * rate)
    return min(max(rounded, 1), 99) if 0 < rate < 1 else rounded


@contextlib.contextmanager
def progress_bar(console: Console, label: str, total: int) -> Iterator[ReportProgress]:
    """Show a bar from 0 to `total`, and the time that is left; yield the function that moves it."""
    columns = (
        TextColumn("  {task.description:<11}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda completed, total=None, /: bar.update(task, completed=completed, total=total)
