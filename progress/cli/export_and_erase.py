"""`progress learners`, `export` and `erase`: find learners, save or erase a learner's record."""

from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.table import Table

from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.terminal import Console
from progress.cli import connections, operations
from progress.cli.shared_options import AsJson, AsJsonLines
from progress.errors import NotFound
from progress.operations import accesses, records
from progress.operations.records import OperationKind
from progress.projections import schema

_WARNING = """This erases everything that is recorded about {user}, and cannot be undone:
- The learner's events, statistics, exported files and dead letters are erased. The receipt says
  when the last backup that contains them is deleted.
- No event with this learner id is ever accepted again. A learner who comes back needs another id.
Erase {user}?"""

Learner = Annotated[str, typer.Argument(metavar="USER", help="The learner's id.")]


def learners(
    part: Annotated[str, typer.Argument(metavar="[TEXT]", help="A part of the id.")] = "",
    first: Annotated[int, typer.Option(min=1, max=100_000, help="The number of learners.")] = 100,
    as_json: AsJsonLines = False,
) -> None:
    """List the learners, or those whose id contains TEXT."""
    with connections.open_to_read() as connection:
        schema.set_search_path(connection)
        values = {"part": part, "limit": first + 1}
        rows = database.fetch(connection, "projections/learners", "find", **values)
        accesses.write_command(connection, "learners", [row["user_id"] for row in rows[:first]])
    if as_json:
        for row in rows[:first]:
            terminal.print_json(row)
        return
    table = Table("learner", "answers", "sessions", "items learned", "last event folded", box=None)
    for user, *numbers, last_updated in map(dict.values, rows[:first]):
        table.add_row(user, *(f"{n:,}" for n in numbers), f"{last_updated:%Y-%m-%d %H:%M:%S}")
    console = Console()
    console.print(table if rows else "There are no such learners.")
    if len(rows) > first:
        console.print(f"There are more than {first:,} such learners: see --first.")


def export(user: Learner, folder: operations.Folder = Path()) -> None:
    """Write all that is recorded about a learner into FOLDER, as a zip file with a description."""
    with connections.open_connection() as connection:
        schema.set_search_path(connection)
        if not database.run(connection, "operations/export_user", "check", learner=user)[0][0]:
            raise NotFound(f"no events of the learner {user} are recorded")
        accesses.write_command(connection, "export", [user])
        operation_id = _start(connection, OperationKind.EXPORT_USER, user)
    console = Console()
    exported = operations.await_success(console, operation_id)
    operations.save_file(console, exported, folder, command="export")


def erase(
    user: Learner,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a learner for ever, and show the receipt."""
    with connections.open_connection() as connection:
        file = "operations/erasure_rows"
        is_known, erased_by = database.run(connection, file, "find erasure", learner=user)[0]
        if erased_by is None:
            if not is_known:
                raise NotFound(f"no events of the learner {user} are recorded")
            if not yes:
                typer.confirm(_WARNING.format(user=terminal.escape(user)), abort=True, err=as_json)
        operation_id = erased_by or _start(connection, OperationKind.ERASE_USER, user)
    operations.await_result(operation_id, as_json=as_json)


def _start(connection: Connection, kind: OperationKind, user: str) -> UUID:
    caller, key = records.COMMAND_LINE, str(uuid4())
    operation_id = records.accept(
        connection, kind, caller=caller, key=key, subject=user, user_id=user
    )
    connections.call_workers([operation_id])
    return operation_id
