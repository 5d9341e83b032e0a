"""Ask the user to confirm a command that drops or replaces data."""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def ask(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, and abort if the user declines.

    With `yes`, or without a terminal, continue without asking.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)
