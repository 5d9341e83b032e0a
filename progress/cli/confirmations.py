"""Questions before something is dropped."""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def ask(question: str, *, yes: bool) -> None:
    """Abort unless the user agrees; do not ask if there is no terminal, for example in a script."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)
