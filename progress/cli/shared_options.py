"""Options that several commands share, and the question before data is dropped or replaced."""

import sys
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def ask(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, and abort if the user declines.

    With `yes`, or without a terminal, continue without asking.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)
