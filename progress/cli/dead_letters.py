"""`progress dead-letters`: list, show, count, replay and discard rejected messages and events."""

import contextlib
from collections import Counter
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from progress.adapters import terminal
from progress.adapters.postgres.database import Connection
from progress.adapters.terminal import Console
from progress.cli import connections, shared_options
from progress.cli.shared_options import AsJsonLines
from progress.errors import EventStoreError
from progress.event_store import dead_letters
from progress.event_store.dead_letter_record import DeadLetterKind
from progress.projections import replay as letter_replay

_DISCARD_BATCH = 500  # dead letters that one statement discards

dead_letters_group = typer.Typer(
    help="Messages and events that were rejected.", no_args_is_help=True
)

_NUMBER = "The dead letter's number in the output of `list`."
Number = Annotated[int, typer.Argument(metavar="NUMBER", help=_NUMBER)]
OneOrNone = Annotated[int | None, typer.Argument(metavar="[NUMBER]", help=_NUMBER)]
Kind = Annotated[DeadLetterKind | None, typer.Option(help="Select open dead letters of this kind.")]
Saying = Annotated[
    str | None, typer.Option(help="Select open dead letters with this text in the reason.")
]
Poster = Annotated[
    str | None, typer.Option(help="Select open dead letters of this poster (see `list --json`).")
]
Everything = Annotated[bool, typer.Option("--all", help="Select all open dead letters.")]


@dead_letters_group.command("list")
def list_all(
    closed: Annotated[
        bool, typer.Option("--all", help="Also list replayed and discarded dead letters.")
    ] = False,
    as_json: AsJsonLines = False,
) -> None:
    """List the open dead letters by reason, the most frequent first; in JSON, oldest first."""
    rows: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    after = 0
    with connections.open_to_read() as connection:
        while page := dead_letters.list_letters(connection, include_closed=closed, after=after):
            for letter in page:
                if as_json:
                    terminal.print_json(letter)
                received = f"{letter.received_at:%Y-%m-%d %H:%M:%S}"
                event = letter.event_type or f"message {letter.message_id}"
                row = str(letter.letter_id), received, event
                rows.setdefault((letter.kind, letter.reason), []).append(row)
            after = page[-1].letter_id
    if not as_json:
        _print_by_reason(Console(), rows)


def _print_by_reason(console: Console, rows: dict[tuple[str, str], list[tuple[str, ...]]]) -> None:
    for (kind, reason), letters in sorted(rows.items(), key=lambda item: -len(item[1])):
        console.print(f"{len(letters):,} {kind}: {reason}", markup=False)
        table = Table("number", "received", Column("event", overflow="fold"), box=None)
        for row in letters:
            table.add_row(*row)
        console.print(table)
    if not rows:
        console.print("There are no open dead letters.")


@dead_letters_group.command()
def show(number: Number) -> None:
    """Show a dead letter with its payload, as JSON if it is JSON; or its size and hash."""
    with connections.open_to_read() as connection:
        letter = dead_letters.read(connection, number)
    shown = msgspec.to_builtins(letter)
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        shown["payload"] = msgspec.json.decode(letter.payload)
    terminal.print_json(shown, is_indented=True)


@dead_letters_group.command()
def count(as_json: AsJsonLines = False) -> None:
    """Count the open dead letters by reason."""
    with connections.open_to_read() as connection:
        reasons = dead_letters.count_by_reason(connection)
    table = Table("letters", "kind", Column("reason", overflow="fold"), "first", "last", box=None)
    for row in reasons:
        if as_json:
            terminal.print_json(row)
        span = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (row.first_at, row.last_at))
        table.add_row(f"{row.letters:,}", row.kind, row.reason, *span)
    if not as_json:
        Console().print(table if table.row_count else "There are no open dead letters.")


@dead_letters_group.command()
def replay(
    number: OneOrNone = None,
    kind: Kind = None,
    saying: Saying = None,
    poster: Poster = None,
    everything: Everything = False,
) -> None:
    """Parse the selected dead letters by the current rules, and append their events.

    The event of a `poisoned` dead letter is already in the log, and is only folded again.
    """
    staying = Counter[str]()
    with connections.open_connection() as connection:
        if number is not None:
            _check_no_filter(number, kind, saying, poster, everything)
            reason = letter_replay.replay(connection, number)
            if reason:
                raise EventStoreError(f"dead letter {number} stays open: {reason}")
            typer.echo(f"Dead letter {number} is replayed.")
            return
        letter_ids = _select(connection, kind, saying, poster, everything)
        with terminal.progress_bar(Console(), "replaying", len(letter_ids)) as show_progress:
            reasons = letter_replay.replay_all(connection, letter_ids)
            for done, reason in enumerate(reasons, start=1):
                staying.update([reason] if reason else [])
                show_progress(done)
    stay = staying.total()
    typer.echo(f"{len(letter_ids) - stay:,} dead letters are replayed, {stay:,} stay open.")
    for why, count in staying.most_common():
        typer.echo(f"{count:>7,}  {why}")


@dead_letters_group.command()
def discard(
    reason: Annotated[str, typer.Option(help="The reason to store with each dead letter.")],
    number: OneOrNone = None,
    kind: Kind = None,
    saying: Saying = None,
    everything: Everything = False,
    *,
    poster: Poster = None,
    yes: shared_options.Yes = False,
) -> None:
    """Close the selected dead letters permanently."""
    if not reason.strip():
        raise typer.BadParameter("expected a reason, found none", param_hint="--reason")
    closed = 0
    with connections.open_connection() as connection:
        if number is not None:
            _check_no_filter(number, kind, saying, poster, everything)
            dead_letters.discard(connection, number, reason)
            typer.echo(f"Dead letter {number} is discarded.")
            return
        letter_ids = _select(connection, kind, saying, poster, everything)
        shared_options.ask(f"Discard {len(letter_ids):,} dead letters?", yes=yes or not letter_ids)
        with terminal.progress_bar(Console(), "discarding", len(letter_ids)) as show_progress:
            for start in range(0, len(letter_ids), _DISCARD_BATCH):
                page = letter_ids[start : start + _DISCARD_BATCH]
                closed += dead_letters.discard_letters(connection, page, reason)
                show_progress(start + len(page))
    typer.echo(f"{closed:,} dead letters are discarded.")


def _check_no_filter(number: int, *filters: object) -> None:
    if any(filters):
        raise typer.BadParameter(f"expected {number} or a filter, not both", param_hint="NUMBER")


def _select(
    connection: Connection,
    kind: DeadLetterKind | None,
    saying: str | None,
    poster: str | None,
    everything: bool,
) -> list[int]:
    if everything == any(each is not None for each in (kind, saying, poster)):
        raise typer.BadParameter("expected NUMBER, a filter (--kind, --saying, --poster), or --all")
    if saying == "":  # perhaps from an unset shell variable; "" would select every dead letter
        raise typer.BadParameter("--saying: expected text, found none")
    return dead_letters.select_open(connection, kind=kind, saying=saying, poster=poster)
