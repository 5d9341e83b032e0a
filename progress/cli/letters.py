"""`progress dead-letters`: what could not become an event, and what to do with it."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from progress import deadletters, replays
from progress.cli import places
from progress.errors import EventStoreError

_letters = typer.Typer(help="What could not become an event.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `list` gives it.")]


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.add_typer(_letters, name="dead-letters")


@_letters.command("list")
def list_all(
    closed: Annotated[bool, typer.Option("--all", help="Replayed and discarded too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the letters that wait, oldest first."""
    connection = places.connect()
    reasons = Column("reason", overflow="fold")
    table = Table("number", "kind", "received", "event", reasons, box=None)
    after = 0
    while page := deadletters.list_letters(connection, include_closed=closed, after=after):
        for letter in page:
            if as_json:
                typer.echo(msgspec.json.encode(letter).decode())
            received = f"{letter.received_at:%Y-%m-%d %H:%M:%S}"
            what = letter.event_type or f"message {letter.message_id}"
            table.add_row(str(letter.letter_id), letter.kind, received, what, letter.reason)
        after = page[-1].letter_id
    connection.close()
    if not as_json:
        Console().print(table if table.row_count else "No dead letters wait.")


@_letters.command()
def show(number: Number) -> None:
    """Show all of a letter, its payload too."""
    connection = places.connect()
    letter = deadletters.show(connection, number)
    connection.close()
    typer.echo(msgspec.json.format(msgspec.json.encode(letter)).decode())


@_letters.command()
def replay(number: Number) -> None:
    """Read the letter by today's rules, and append what it holds."""
    connection = places.connect()
    reason = replays.replay(connection, number)
    connection.close()
    if reason:
        raise EventStoreError(f"dead letter {number} stays: {reason}")
    typer.echo(f"Dead letter {number} is replayed.")


@_letters.command()
def discard(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the letter.")],
) -> None:
    """Close a letter for good."""
    if not reason.strip():
        raise typer.BadParameter("say why it is discarded", param_hint="--reason")
    connection = places.connect()
    deadletters.discard(connection, number, reason)
    connection.close()
    typer.echo(f"Dead letter {number} is discarded.")
