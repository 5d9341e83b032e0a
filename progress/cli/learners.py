"""`progress export`: write everything that is recorded about a learner into one file."""

import contextlib
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
from rich.console import Console

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.cli import operations, targets
from progress.errors import NotFound
from progress.operations import records
from progress.operations.records import OperationKind
from progress.projections import schema

Learner = Annotated[str, typer.Argument(metavar="USER", help="The learner's id.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the file is written.")]


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(export)


def export(user: Learner, folder: Folder = Path()) -> None:
    """Write all that is recorded about a learner into FOLDER, as a zip file with a description."""
    with contextlib.closing(targets.connect()) as connection:
        if not _is_known(connection, user):
            raise NotFound(f"no events of the learner {user} are recorded")
        operation_id = _start(connection, OperationKind.EXPORT_USER, user)
    console = Console(highlight=False)
    operations.save_file(console, operations.await_success(console, operation_id), folder)


def _is_known(connection: Connection, user: str) -> bool:
    schema.set_search_path(connection)
    rows = connection.run(blocks("operations/export_user")["check"], learner=user)
    return bool(rows[0][0])


def _start(connection: Connection, kind: OperationKind, user: str) -> UUID:
    """Start an operation about a learner, or return the unfinished one."""
    values = records.accept_values(
        kind, caller=operations.CALLER, key=str(uuid4()), subject=user, user_id=user
    )
    operation_id: UUID = connection.run(blocks("operations/operations")["accept"], **values)[0][0]
    targets.call_workers([operation_id])
    return operation_id
