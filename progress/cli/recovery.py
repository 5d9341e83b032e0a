"""`progress check`, `shards`, `warm`: find damage, list shard locks, fill the cache."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.cli import targets
from progress.errors import ProjectionError
from progress.recovery import checks, shard_locks

_shards = typer.Typer(
    help="Shards, and the database sessions that lock them.", no_args_is_help=True
)

Shard = Annotated[int, typer.Argument(min=0, max=15, metavar="SHARD", help="0 to 15.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(check)
    app.command()(warm)
    app.add_typer(_shards, name="shards")


def check(
    as_json: AsJson = False,
    with_rows: Annotated[
        bool,
        typer.Option(
            "--whole", help="Also fold the whole log, and compare the result with every row."
        ),
    ] = False,
) -> None:
    """Check that the log is complete and fits the checkpoints; exit with 1 on a defect."""
    report = targets.run(checks.run, targets.erased_digests(), with_rows=with_rows)
    if as_json:
        terminal.print_json(report)
    else:
        _show(report, with_rows=with_rows)
    if wrong := report.findings:
        raise ProjectionError(f"{wrong[0].found}: {wrong[0].do}{_more(len(wrong) - 1)}")


def _more(others: int) -> str:
    return f" (and {others} more, see above)" if others else ""


def _show(report: checks.Report, *, with_rows: bool) -> None:
    console = Console()
    console.print(f"the log: {report.events:,} events, the last at position {report.head:,}")
    table = Table("shard", "folded to", "batch job folded to", "events behind", "", box=None)
    for row in report.shards:
        state = "AHEAD" if row.ahead else "OTHER LOG" if row.other else ""
        numbers = (row.position, row.batch_position, row.events_behind)
        table.add_row(str(row.shard), *(f"{number:,}" for number in numbers), state)
    console.print(table)
    for finding in report.findings:
        console.print(f"WRONG  {finding.found}: {finding.do}", soft_wrap=True)
    if not report.findings:
        rows = " and every row" if with_rows else ""
        console.print(f"The log is complete, and the checkpoints{rows} match it.")


def warm(
    learners: Annotated[int, typer.Option(min=1, help="The number of learners.")] = 1_000,
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Clear the cache first; required after a restore.")
    ] = False,
) -> None:
    """Cache the responses to the page's query for the most recently active learners."""
    # Importing the API takes 300 ms, so only this command imports it.
    from progress.query import warm
    from progress.query.read_models.reader import open_reader

    url = targets.redis()
    database = targets.database()
    if afresh:
        warm.clear(url)

    async def warm_cache() -> tuple[int, int]:
        async with open_reader(database) as reader:
            return await warm.warm(url, reader, learners, show_progress)

    console = Console()
    with terminal.progress_bar(console, "warming", total=0) as show_progress:
        learner_count, cached = asyncio.run(warm_cache())
    console.print(
        f"The pages of {learner_count:,} learners are cached; "
        f"{cached:,} of them were cached before."
    )


@_shards.command("list")
def list_shards(as_json: AsJson = False) -> None:
    """Show the lag of each shard, and the database session that holds the shard's lock."""
    shards = targets.run(shard_locks.list_shards)
    if as_json:
        terminal.print_json(shards)
        return
    table = Table("shard", "behind", "session", "of", "state", "seconds", "waits for", box=None)
    for row in shards:
        is_visible = row.state is not None  # false: this login has no permission to see the session
        session = (str(row.pid), f"{row.login} {row.application}", row.state or "hidden")
        since = (f"{row.seconds:.0f}" if is_visible else "", " ".join(map(str, row.waits_for)))
        columns = (*session, *since) if row.pid else ("", "", "", "", "")
        table.add_row(str(row.shard), f"{row.events_behind:,}", *columns)
    Console().print(table)


@_shards.command()
def release(shard: Shard) -> None:
    """End the database session that holds a shard's lock.

    If this session waits for other sessions, end those instead. The next worker repeats the
    unfinished window.
    """
    ended = targets.run(shard_locks.release, shard)
    Console().print(f"{' and '.join(ended)} ended: shard {shard} is free.", soft_wrap=True)
