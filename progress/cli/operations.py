"""`progress operations`: what was started over the API, and how far it is."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from progress.cli import places
from progress.errors import ProgressError

_operations = typer.Typer(help="What was started over the API.", no_args_is_help=True)

_T = TypeVar("_T")


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.add_typer(_operations, name="operations")


@_operations.command("list")
def list_newest(
    first: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the operations, newest first."""
    from progress.query.read_models import operations

    found = _asked(operations.get_operations(first=first))
    table = Table(
        Column("id", min_width=36),
        "kind",
        "state",
        "done",
        "started",
        Column("error", overflow="fold"),
        box=None,
    )
    for each in found:
        if as_json:
            typer.echo(msgspec.json.encode(each).decode())
        started = f"{each.started_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            each.id, each.kind, each.state, f"{each.progress:.0%}", started, each.error or ""
        )
    if not as_json:
        Console().print(table if table.row_count else "No operation was started yet.")


@_operations.command()
def show(
    operation_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` gives it.")],
) -> None:
    """Show all of an operation, its steps too."""
    from progress.query.read_models import operations

    found = _asked(operations.get_operation(operation_id))
    if found is None:
        raise ProgressError(f"there is no operation {operation_id}")
    typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


def _asked(question: Coroutine[Any, Any, _T]) -> _T:
    from progress.query.read_models import reader

    async def answered() -> _T:
        async with reader.opened(places.where()):
            return await question

    return asyncio.run(answered())
