"""`progress publish`: publish the envelopes of a file to their topics."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from progress.adapters import terminal
from progress.adapters.pubsub import publisher
from progress.cli import targets
from progress.errors import ProgressError


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(publish)


def publish(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="One JSON envelope per line.")],
) -> None:
    """Publish envelopes through Pub/Sub, each to the topic of its event type; print their count."""
    lines = list(_lines(file))
    project, emulator = targets.pubsub()
    console = Console(stderr=True)
    with terminal.progress_bar(console, "publishing", total=len(lines)) as show_progress:
        count = publisher.publish(
            lines, project=project, emulator=emulator, on_published=show_progress
        )
    typer.echo(f"{count} published")


def _lines(file: str) -> Iterator[publisher.Line]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            for line in source:
                if data := line.strip():
                    yield publisher.Line(data)
    except OSError as error:
        raise ProgressError(f"cannot read {file}: {error.strerror}") from None
