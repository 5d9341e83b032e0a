"""`progress operations`: show the operations that were started through the API."""

import contextlib
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from progress.cli import targets
from progress.errors import ProgressError
from progress.operations import records

_operations = typer.Typer(help="Operations started through the API.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.add_typer(_operations, name="operations")


@_operations.command("list")
def list_newest(
    first: Annotated[int, typer.Option(min=1, max=1_000, help="The number to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the operations, newest first."""
    with contextlib.closing(targets.connect()) as connection:
        operations = records.get_operations(connection, first=first)
    table = Table(
        Column("id", min_width=36),
        "kind",
        "state",
        "done",
        "started",
        Column("error", overflow="fold"),
        box=None,
    )
    for operation in operations:
        if as_json:
            typer.echo(msgspec.json.encode(operation).decode())
        table.add_row(
            operation.id,
            operation.kind,
            operation.state,
            f"{operation.progress:.0%}",
            f"{operation.started_at:%Y-%m-%d %H:%M:%S}",
            operation.error or "",
        )
    if not as_json:
        Console().print(table if table.row_count else "No operation was started yet.")


@_operations.command()
def show(
    operation_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` prints it.")],
) -> None:
    """Show an operation with its steps."""
    with contextlib.closing(targets.connect()) as connection:
        operation = records.get_operation(connection, operation_id)
    if operation is None:
        raise ProgressError(f"there is no operation {operation_id}")
    typer.echo(msgspec.json.format(msgspec.json.encode(operation)).decode())
