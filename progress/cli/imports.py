"""`progress import anki`: publish a learner's record in Anki as domain events."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from progress.adapters import terminal
from progress.adapters.pubsub import publisher
from progress.cli import targets
from progress.errors import SettingsError
from progress.event_store import time_zones
from progress.importers import anki_events, anki_import, shifts
from progress.importers.anki_import import Record

OWN_USER = "me"  # the learner of a record without --user

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")

_anki = typer.Typer(help="Publish the records of another program as domain events.")


def check_user(value: str) -> str:
    """Return a learner's id; raise BadParameter if it is invalid."""
    surrogates = any("\ud800" <= character <= "\udfff" for character in value)
    if not 1 <= len(value) <= 200 or surrogates:
        raise typer.BadParameter("expected 1 to 200 characters of UTF-8")
    return value


def _zone(value: str | None) -> str | None:
    if value is not None and value not in time_zones.names():
        raise typer.BadParameter(f"{value} is not a time zone of the IANA database")
    return value


def _language(value: str | None) -> str | None:
    if value is not None and not (2 <= len(value) <= 35 and _LANGUAGE.fullmatch(value)):
        raise typer.BadParameter("expected a language tag such as en or pt-BR")
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
        Path,
        typer.Argument(
            help="An export of Anki (.colpkg, .apkg), its collection.anki2, or a CSV file: "
            "card_id, review_rating, review_time, review_duration (ms)."
        ),
    ],
    user: Annotated[str, typer.Option(help="The learner's id.", callback=check_user)] = OWN_USER,
    zone: Annotated[
        str | None,
        typer.Option(
            help="The learner's IANA time zone; for a collection, by default this machine's.",
            callback=_zone,
        ),
    ] = None,
    day_start: Annotated[
        int | None,
        typer.Option(
            min=0, max=23, help="The hour at which days begin; by default the collection's."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="The language of the cards' words, such as de.", callback=_language),
    ] = None,
) -> None:
    """Publish a review log, one message for each session; a second import adds nothing."""
    record = anki_import.read(file, anki_events.Learner(user, zone, day_start), language)
    record = _shift_as_stored(record)
    messages = record.messages()
    project, emulator = targets.pubsub()
    console = Console(highlight=False)
    total = sum(len(message.events) for message in messages)
    with terminal.progress_bar(console, "publishing", total) as show_progress:
        count = publisher.publish(
            messages, project=project, emulator=emulator, on_published=show_progress
        )
    _report(console, record, count, messages)


def _shift_as_stored(record: Record) -> Record:
    """Move the record by the days by which the demo has moved the same record, if it has."""
    try:
        stored = targets.run(shifts.find_stored, record.learner, record.answers)
    except SettingsError:  # only Pub/Sub is known, so that no demo ran here
        return record
    if not stored or not stored.days:
        return record
    return msgspec.structs.replace(
        record,
        answers=shifts.shift(record.answers, stored.days, stored.timezone),
        learner=msgspec.structs.replace(record.learner, shifted_days=stored.days),
    )


def _report(
    console: Console, record: Record, count: int, messages: list[publisher.Message]
) -> None:
    answered = len({answer.card_id for answer in record.answers})
    sessions = sum(message.topic == publisher.LEARNING for message in messages)
    console.print(
        f"{count:,} events published: {len(record.answers):,} answers to {answered:,} cards "
        f"in {sessions:,} sessions."
    )
    if record.cards:
        console.print(
            f"{len(record.cards):,} cards have a word; the word lists give {len(record.words):,} "
            "of them a level."
        )
