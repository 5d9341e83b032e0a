"""`progress undelivered`: the messages that one machine could not deliver."""

import typer

from progress.adapters.postgres import database
from progress.cli import connections

undelivered_group = typer.Typer(
    help="Messages that could not be delivered on one machine.", no_args_is_help=True
)


@undelivered_group.callback()
def _group() -> None:
    """Keep `retry` a word of its own, although it is the only one."""


@undelivered_group.command()
def retry() -> None:
    """Deliver again what was given up after 100 attempts; `progress doctor` finds such messages."""
    with connections.open_connection() as connection:
        number = database.run(connection, "transport/queue", "retry")[0][0]
    typer.echo(f"{number:,} messages are delivered again." if number else "No message is given up.")
