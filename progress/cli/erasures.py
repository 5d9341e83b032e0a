"""`progress erasures`: after a restore, repeat the erasures that the restored log lacks."""

import contextlib

import typer

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.cli import targets
from progress.recovery import erasures as recovered_erasures

_erasures = typer.Typer(help="Repeat erasures after a restore.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.add_typer(_erasures, name="erasures")


@_erasures.callback()
def group() -> None:
    """Make typer keep `apply` as a subcommand, although it is the only one."""


@_erasures.command()
def apply() -> None:
    """Erase the learners whom the archive's ledger lists as erased, but who are still in this log.

    Run this command after each restore of the log, before Pub/Sub pushes events again.
    """
    targets.use_stack()
    console = Console()
    with (
        contextlib.closing(targets.connect()) as connection,
        terminal.progress_bar(console, "erasing", total=0) as show_progress,
    ):
        result = recovered_erasures.apply(
            connection, targets.archive(), targets.change_publisher(), show_progress
        )
    console.print(
        f"{result.erased:,} learners are erased again. {result.unknown:,} other erased learners "
        "are not in this log; their later events will be dropped.",
        soft_wrap=True,
    )
