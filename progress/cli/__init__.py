"""The command `progress`."""

import sys

import typer

from progress.cli import imports, stack
from progress.errors import ProgressError

app = typer.Typer(
    help="What learners do, recorded; how they stand, derived.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
stack.add_to(app)
imports.add_to(app)


def main() -> None:
    """Run the command: exit code 0 done, 1 failed, with one line on why, 2 wrong usage."""
    try:
        app()
    except ProgressError as fault:
        sys.stderr.write(f"progress: {' '.join(str(fault).split())}\n")
        sys.exit(1)
