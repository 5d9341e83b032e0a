"""`progress backup` and `progress restore`: the read models, kept and put back."""

from typing import Annotated

import typer
from rich.console import Console

from progress.adapters import terminal
from progress.cli import places
from progress.recovery import backups, storage
from progress.recovery import restore as backup_restore

_WHERE = "A folder, or gs://bucket/prefix."

To = Annotated[str, typer.Argument(metavar="TO", help=_WHERE)]
From = Annotated[str, typer.Argument(metavar="FROM", help=_WHERE)]


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    for command in (backup, restore):
        app.command()(command)


def backup(to: To) -> None:
    """Write the read models, as they stand at this moment, into a new folder of TO."""
    target = storage.open_storage(to)
    places.connect().close()  # no bar where there is no database
    console = Console(highlight=False)
    with terminal.progress_bar(console, "backing up", total=0) as reached:
        name, made = backups.run(places.connect, target, reached)
    rows, size = sum(t.rows for t in made.tables), sum(t.bytes for t in made.tables)
    console.print(
        f"{rows:,} rows of {len(made.tables)} tables in {to.rstrip('/')}/{name}, "
        f"{size / 2**20:,.1f} MiB; the log was at {made.head:,}.",
        soft_wrap=True,
    )


def restore(source: From) -> None:
    """Put the newest backup of FROM in the read models' place, caught up with the log."""
    kept = storage.open_storage(source)
    places.connect().close()
    console = Console(highlight=False)
    with terminal.progress_bar(console, "restoring", total=0) as reached:
        found, folded = backup_restore.run(places.connect, kept, reached, places.change_publisher())
    console.print(
        f"The read models of {found.taken_at:%Y-%m-%d %H:%M:%S} UTC are back; {folded:,} events "
        "that came after it are folded.",
        soft_wrap=True,
    )
