"""Find damage, and recover from it.

`progress check`, `backup`, `restore`, `dump`, `load`, `erasures`, `shards` and `warm`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from progress.adapters import storage, terminal
from progress.adapters.terminal import Console
from progress.cli import connections, options
from progress.errors import ProjectionError
from progress.projections import rebuild
from progress.recovery import backups, checks, dumps, shard_locks
from progress.recovery import erasures as recovered_erasures
from progress.recovery import restore as backup_restore

shards_group = typer.Typer(
    help="Shards, and the database sessions that lock them.", no_args_is_help=True
)

Shard = Annotated[int, typer.Argument(min=0, max=15, metavar="SHARD", help="0 to 15.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
erasures_group = typer.Typer(help="Repeat erasures after a restore.", no_args_is_help=True)
_LOCATION = "A folder, or gs://bucket/prefix."

To = Annotated[str, typer.Argument(metavar="TO", help=_LOCATION)]
From = Annotated[str, typer.Argument(metavar="FROM", help=_LOCATION)]


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
    erased, marks = connections.erased_digests(), connections.marks()
    marks, unknown = (marks, "") if isinstance(marks, list) else ([], marks)
    with connections.open_to_read() as connection:
        report = checks.run(connection, erased, marks, with_rows=with_rows)
        findings = [*checks.check_roles(connection), *report.findings]
    report = msgspec.structs.replace(report, findings=findings)
    if as_json:
        terminal.print_json(report)
    else:
        _show(report, unknown, with_rows=with_rows)
    if wrong := report.findings:
        more = f" (and {len(wrong) - 1} more, see above)" if wrong[1:] else ""
        raise ProjectionError(f"{wrong[0].found}: {wrong[0].do}{more}")


def _show(report: checks.Report, unknown: str, *, with_rows: bool) -> None:
    console = Console()
    recorded = f", recorded {report.recorded_at:%Y-%m-%dT%H:%M:%SZ}" if report.recorded_at else ""
    console.print(
        f"the log: {report.events:,} events, the last at position {report.head:,}{recorded}"
    )
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
    if lost := report.lost:
        console.print(
            f"LOST  up to {lost.events:,} events after position {lost.position:,}, recorded from "
            f"{lost.first_at:%Y-%m-%dT%H:%M:%SZ} to {lost.last_at:%Y-%m-%dT%H:%M:%SZ}: publish "
            "them again (docs/runbook.md, A standby that lacked events)",
            soft_wrap=True,
        )
    elif unknown:
        console.print(f"Whether the log lost events is unknown: {unknown}", soft_wrap=True)


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

    url = connections.redis()
    database = connections.database()
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


@shards_group.command("list")
def list_shards(as_json: AsJson = False) -> None:
    """Show the lag of each shard, and the database session that holds the shard's lock."""
    with connections.open_to_read() as connection:
        shards = shard_locks.list_shards(connection)
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


@shards_group.command()
def release(shard: Shard) -> None:
    """End the database session that holds a shard's lock.

    If this session waits for other sessions, end those instead. The next worker repeats the
    unfinished window.
    """
    with connections.open_connection() as connection:
        ended = shard_locks.release(connection, shard)
    Console().print(f"{' and '.join(ended)} ended: shard {shard} is free.", soft_wrap=True)


@erasures_group.callback()
def group() -> None:
    """Make typer keep `apply` as a subcommand, although it is the only one."""


@erasures_group.command()
def apply() -> None:
    """Erase the learners whom the archive's ledger lists as erased, but who are still in this log.

    Run this command after each restore of the log, before Pub/Sub pushes events again.
    """
    connections.use_stack()
    console = Console()
    with (
        connections.open_connection() as connection,
        terminal.progress_bar(console, "erasing", total=0) as show_progress,
    ):
        result = recovered_erasures.apply(
            connection, connections.archive(), connections.change_publisher(), show_progress
        )
    console.print(
        f"{result.erased:,} learners are erased again. {result.unknown:,} other erased learners "
        "are not in this log; their later events will be dropped.",
        soft_wrap=True,
    )


def backup(
    to: To,
    with_log: Annotated[
        bool, typer.Option("--with-log", help="First dump the log into TO/log.")
    ] = False,
    daily: Annotated[
        bool, typer.Option("--daily", help="Dump the log only if the last dump is 20 hours old.")
    ] = False,
) -> None:
    """Write the current read models into a new folder in TO."""
    target = storage.open_storage(to)
    connections.connect().close()  # without a database, fail before the progress bar appears
    dumps_in = f"{to.rstrip('/')}/log"
    if with_log and daily and not dumps.is_due(storage.open_storage(dumps_in), datetime.now(UTC)):
        Console().print("Without the log: its last dump is less than 20 hours old (--daily).")
    elif with_log:
        dump(dumps_in)
    else:
        Console().print("Without the log (see --with-log), which the read models come from.")
    console = Console()
    with terminal.progress_bar(console, "backing up", total=0) as show_progress:
        name, manifest = backups.run(connections.connect, target, show_progress)
    rows, size = sum(t.rows for t in manifest.tables), sum(t.bytes for t in manifest.tables)
    console.print(
        f"{rows:,} rows of {len(manifest.tables)} tables in {to.rstrip('/')}/{name}, "
        f"{size / 2**20:,.1f} MiB; the log ended at position {manifest.head:,}.",
        soft_wrap=True,
    )


def restore(source: From, yes: options.Yes = False) -> None:
    """Replace the read models with the newest backup in FROM, and fold the later events."""
    stored = storage.open_storage(source)
    options.ask("Replace the current read models with the backup?", yes=yes)
    connections.connect().close()
    console = Console()
    publisher = connections.change_publisher()
    with terminal.progress_bar(console, "restoring", total=0) as show_progress:
        manifest, folded = backup_restore.run(
            connections.connect,
            stored,
            show_progress,
            publisher,
            erased=connections.erased_digests(),
        )
    console.print(
        f"The read models of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC are restored, and "
        f"{folded:,} events that were recorded after the backup are folded.",
        soft_wrap=True,
    )


def dump(to: To) -> None:
    """Write the log, the operations and the erasures into a new folder in TO."""
    target = storage.open_storage(to)
    console = Console()
    with (
        connections.open_connection() as connection,
        terminal.progress_bar(console, "dumping", total=0) as show_progress,
    ):
        name, manifest = dumps.run(connection, target, show_progress)
    connections.data_folder().note_dump(to)
    size = sum(table.bytes for table in manifest.tables)
    console.print(
        f"The log up to position {manifest.head:,} in {to.rstrip('/')}/{name}, "
        f"{size / 2**20:,.1f} MiB.",
        soft_wrap=True,
    )


def load(
    source: From,
    name: Annotated[
        str | None, typer.Option(help="The dump's folder in FROM, by default the newest.")
    ] = None,
) -> None:
    """Fill an empty database from a dump in FROM, build its read models, and erase again."""
    connections.use_stack()
    stored, archive = storage.open_storage(source), connections.archive()
    console = Console()
    with (
        connections.open_connection() as connection,
        terminal.progress_bar(console, "loading", total=0) as show_progress,
    ):
        loaded, manifest = dumps.load(connection, stored, archive, show_progress, name)
    console.print(
        f"The dump {loaded} is loaded: it ends at position {manifest.head:,}.", soft_wrap=True
    )
    rebuild.ensure(connections.connect, connections.change_publisher())
    apply()
