"""`progress dead-letters`: what could not become an event, and what to do with it."""

from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from progress.adapters import terminal
from progress.adapters.postgres.database import Connection
from progress.cli import places
from progress.errors import EventStoreError
from progress.event_store import dead_letters
from progress.projections import replay as letter_replay

_AT_ONCE = 500  # letters that one statement closes

_letters = typer.Typer(help="What could not become an event.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `list` gives it.")]
OneOrNone = Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="As `list` gives it.")]
OfKind = Literal["malformed", "invalid", "conflict", "future", "session_owner", "poisoned"]
Kind = Annotated[OfKind | None, typer.Option(help="All that wait of this kind.")]
Saying = Annotated[str | None, typer.Option(help="All that wait with this in their reason.")]
Everything = Annotated[bool, typer.Option("--all", help="All that wait.")]


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
    while page := dead_letters.list_letters(connection, include_closed=closed, after=after):
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
    letter = dead_letters.show(connection, number)
    connection.close()
    typer.echo(msgspec.json.format(msgspec.json.encode(letter)).decode())


@_letters.command()
def count(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Count the letters that wait, by why they do."""
    connection = places.connect()
    found = dead_letters.reasons(connection)
    connection.close()
    table = Table("letters", "kind", Column("reason", overflow="fold"), "first", "last", box=None)
    for each in found:
        if as_json:
            typer.echo(msgspec.json.encode(each).decode())
        when = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (each.first_at, each.last_at))
        table.add_row(f"{each.letters:,}", each.kind, each.reason, *when)
    if not as_json:
        Console().print(table if table.row_count else "No dead letters wait.")


@_letters.command()
def replay(
    number: OneOrNone = None,
    kind: Kind = None,
    saying: Saying = None,
    everything: Everything = False,
) -> None:
    """Read the letter, or all such letters, by today's rules, and append what they hold."""
    connection = places.connect()
    if number is not None:
        _only(number, kind, saying, everything)
        reason = letter_replay.replay(connection, number, places.change_publisher())
        connection.close()
        if reason:
            raise EventStoreError(f"dead letter {number} stays: {reason}")
        typer.echo(f"Dead letter {number} is replayed.")
        return
    chosen = _chosen(connection, kind, saying, everything)
    stay = 0
    with terminal.progress_bar(Console(), "replaying", len(chosen)) as reached:
        reasons = letter_replay.replay_all(connection, chosen, places.change_publisher())
        for done, reason in enumerate(reasons, start=1):
            stay += reason is not None
            reached(done)
    connection.close()
    typer.echo(f"{len(chosen) - stay:,} dead letters are replayed, {stay:,} stay.")


@_letters.command()
def discard(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the letter.")],
    number: OneOrNone = None,
    kind: Kind = None,
    saying: Saying = None,
    everything: Everything = False,
) -> None:
    """Close the letter, or all such letters, for good."""
    if not reason.strip():
        raise typer.BadParameter("say why it is discarded", param_hint="--reason")
    connection = places.connect()
    if number is not None:
        _only(number, kind, saying, everything)
        dead_letters.discard(connection, number, reason)
        connection.close()
        typer.echo(f"Dead letter {number} is discarded.")
        return
    chosen = _chosen(connection, kind, saying, everything)
    closed = 0
    with terminal.progress_bar(Console(), "discarding", len(chosen)) as reached:
        for start in range(0, len(chosen), _AT_ONCE):
            these = chosen[start : start + _AT_ONCE]
            closed += dead_letters.discard_all(connection, these, reason)
            reached(start + len(these))
    connection.close()
    typer.echo(f"{closed:,} dead letters are discarded.")


def _only(number: int, *filters: object) -> None:
    if any(filters):
        raise typer.BadParameter(f"either {number} or a filter", param_hint="NUMBER")


def _chosen(
    connection: Connection, kind: str | None, saying: str | None, everything: bool
) -> list[int]:
    if everything == (kind is not None or saying is not None):
        raise typer.BadParameter("say which: NUMBER, --kind, --saying, or --all")
    if saying == "":  # a shell's variable that is not set; it would be all of them
        raise typer.BadParameter("--saying: expected words, found none")
    return dead_letters.alike(connection, kind=kind, saying=saying)
