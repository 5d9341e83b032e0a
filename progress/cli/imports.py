"""`progress import anki`: publish a learner's review log as domain events."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from progress.adapters import terminal
from progress.adapters.pubsub import publisher
from progress.cli import targets
from progress.event_store import time_zones
from progress.importers import anki_events, anki_log

_anki = typer.Typer(help="Publish the records of another program as domain events.")


def _user(value: str) -> str:
    surrogates = any("\ud800" <= character <= "\udfff" for character in value)
    if not 1 <= len(value) <= 200 or surrogates:
        raise typer.BadParameter("expected 1 to 200 characters of UTF-8")
    return value


def _zone(value: str | None) -> str | None:
    if value is not None and value not in time_zones.names():
        raise typer.BadParameter(f"{value} is not a time zone of the IANA database")
    return value


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.add_typer(_anki, name="import")


@_anki.callback()
def _group() -> None:
    """Make typer keep `anki` as a subcommand, although it is the only one."""


@_anki.command()
def anki(
    file: Annotated[
        Path, typer.Argument(help="CSV: card_id, review_rating, review_time, review_duration (ms).")
    ],
    user: Annotated[str, typer.Option(help="The learner's id.", callback=_user)],
    zone: Annotated[
        str | None, typer.Option(help="The learner's IANA time zone.", callback=_zone)
    ] = None,
    day_start: Annotated[
        int | None, typer.Option(min=0, max=23, help="The hour at which days begin.")
    ] = None,
) -> None:
    """Publish a review log, one message for each session; a second import adds nothing."""
    answers = anki_log.read(file)
    learner = anki_events.Learner(user, zone, day_start)
    messages = list(anki_events.messages(learner, answers))
    project, emulator = targets.pubsub()
    console = Console()
    with terminal.progress_bar(
        console, "publishing", sum(len(m.events) for m in messages)
    ) as show_progress:
        count = publisher.publish(
            messages, project=project, emulator=emulator, on_published=show_progress
        )
    cards = len({answer.card_id for answer in answers})
    console.print(
        f"{count:,} events published: {len(answers):,} answers to {cards:,} cards "
        f"in {max(len(messages) - 1, 0):,} sessions."
    )
