"""`progress check`, `shards`, `warm`: what is wrong, who is in the way, what is kept again."""

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from progress.adapters import terminal
from progress.cli import places
from progress.errors import ProjectionError
from progress.recovery import checks, shard_locks

_shards = typer.Typer(help="Who folds what, and who is in the way.", no_args_is_help=True)

Shard = Annotated[int, typer.Argument(min=0, max=15, metavar="SHARD", help="0 to 15.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.command()(check)
    app.command()(warm)
    app.add_typer(_shards, name="shards")


def check(as_json: AsJson = False) -> None:
    """Compare the log with itself and with the checkpoints; exit code 1 if something is wrong."""
    connection = places.connect()
    report = checks.run(connection)
    connection.close()
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _show(report)
    if wrong := report.findings:
        raise ProjectionError(f"{wrong[0].found}: {wrong[0].do}{_more(len(wrong) - 1)}")


def _more(others: int) -> str:
    return f" (and {others} more, see above)" if others else ""


def _show(report: checks.Report) -> None:
    console = Console(highlight=False)
    console.print(f"the log: {report.events:,} events, the last at position {report.head:,}")
    table = Table("shard", "folded to", "by the batch job", "events behind", "", box=None)
    for each in report.shards:
        state = "AHEAD" if each.ahead else "OTHER LOG" if each.other else ""
        numbers = (each.position, each.batch_position, each.events_behind)
        table.add_row(str(each.shard), *(f"{number:,}" for number in numbers), state)
    console.print(table)
    for finding in report.findings:
        console.print(f"WRONG  {finding.found}: {finding.do}", soft_wrap=True)
    if not report.findings:
        console.print("The log is whole, and the read models are of this log.")


def warm(
    learners: Annotated[int, typer.Option(min=1, help="How many, the last active first.")] = 1_000,
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Drop all that is kept first, as after a restore.")
    ] = False,
) -> None:
    """Keep the answers of the page for the learners who did something last."""
    # The API with all that it stands on: a third of a second, for this command alone.
    from progress.query import warm
    from progress.query.read_models import reader

    url = places.redis()
    where = places.where()
    if afresh:
        warm.forget(url)

    async def warmed() -> tuple[int, int]:
        async with reader.opened(where):
            return await warm.warm(url, learners, reached)

    console = Console(highlight=False)
    with terminal.progress_bar(console, "warming", total=0) as reached:
        asked, kept = asyncio.run(warmed())
    console.print(f"The pages of {asked:,} learners are kept, {kept:,} of them were already.")


@_shards.command("list")
def list_shards(as_json: AsJson = False) -> None:
    """Tell of each shard how far it is behind, and which session has it."""
    connection = places.connect()
    found = shard_locks.list_shards(connection)
    connection.close()
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    table = Table("shard", "behind", "session", "of", "state", "seconds", "waits for", box=None)
    for each in found:
        told = each.state is not None  # the database tells it to pg_read_all_stats alone
        who = (str(each.pid), f"{each.login} {each.application}", each.state or "not told")
        since = (f"{each.seconds:.0f}" if told else "", " ".join(map(str, each.waits_for)))
        held = (*who, *since) if each.pid else ("", "", "", "", "")
        table.add_row(str(each.shard), f"{each.events_behind:,}", *held)
    Console(highlight=False).print(table)


@_shards.command()
def release(shard: Shard) -> None:
    """End the session that holds a shard; what it was folding is folded again by the next."""
    connection = places.connect()
    ended = shard_locks.release(connection, shard)
    connection.close()
    typer.echo(f"{' and '.join(ended)} ended: shard {shard} is free.")
