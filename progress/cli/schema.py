"""`progress schema events` and `progress sql`: what the declarations and the SQL files give."""

from pathlib import Path
from typing import Annotated

import typer

from progress import files
from progress.errors import ProgressError

schema_group = typer.Typer(help="Generate the files of the event contract.", no_args_is_help=True)


@schema_group.command()
def events(
    folder: Annotated[
        Path,
        typer.Option(
            help="The folder that contains docs and schemas.",
            show_default="this repository",
            exists=True,
            file_okay=False,
        ),
    ] = files.ROOT,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")
    ] = False,
) -> None:
    """Generate docs/events.md, schemas/events and schemas/asyncapi.json from the event types."""
    from progress.event_store.contract import files

    if check:
        if stale := files.find_stale(folder):
            names = ", ".join(map(str, stale))
            raise ProgressError(f"out of date: {names}; run `progress schema events`")
        return
    for path in files.write(folder):
        typer.echo(str(path))


def sql(
    name: Annotated[
        str,
        typer.Argument(help="A read model, a file of sql/projections, or a path below sql."),
    ],
    block: Annotated[str | None, typer.Argument(help="Print only this block.")] = None,
) -> None:
    """Print a file of SQL as the database runs it; comments give the places of the lines."""
    from progress.projections import schema

    texts = schema.trace(name)
    if block and block not in texts:
        raise ProgressError(f"{name} has no block {block!r}, only {', '.join(texts)}")
    for each in [block] if block else texts:
        typer.echo(f"-- {each} --\n{texts[each]}\n")
