"""`progress backup` and `progress restore`: save and restore the read models."""

from typing import Annotated

import typer

from progress.adapters import storage, terminal
from progress.adapters.terminal import Console
from progress.cli import confirmations, targets
from progress.recovery import backups
from progress.recovery import restore as backup_restore

_LOCATION = "A folder, or gs://bucket/prefix."

To = Annotated[str, typer.Argument(metavar="TO", help=_LOCATION)]
From = Annotated[str, typer.Argument(metavar="FROM", help=_LOCATION)]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for command in (backup, restore):
        app.command()(command)


def backup(to: To) -> None:
    """Write the current read models into a new folder in TO."""
    target = storage.open_storage(to)
    targets.connect().close()  # without a database, fail before the progress bar appears
    console = Console()
    with terminal.progress_bar(console, "backing up", total=0) as show_progress:
        name, manifest = backups.run(targets.connect, target, show_progress)
    rows, size = sum(t.rows for t in manifest.tables), sum(t.bytes for t in manifest.tables)
    console.print(
        f"{rows:,} rows of {len(manifest.tables)} tables in {to.rstrip('/')}/{name}, "
        f"{size / 2**20:,.1f} MiB; the log ended at position {manifest.head:,}.",
        soft_wrap=True,
    )


def restore(source: From, yes: confirmations.Yes = False) -> None:
    """Replace the read models with the newest backup in FROM, and fold the later events."""
    stored = storage.open_storage(source)
    confirmations.ask("Replace the current read models with the backup?", yes=yes)
    targets.connect().close()
    console = Console()
    publisher = targets.change_publisher()
    with terminal.progress_bar(console, "restoring", total=0) as show_progress:
        manifest, folded = backup_restore.run(
            targets.connect, stored, show_progress, publisher, erased=targets.erased_digests()
        )
    console.print(
        f"The read models of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC are restored, and "
        f"{folded:,} events that were recorded after the backup are folded.",
        soft_wrap=True,
    )
