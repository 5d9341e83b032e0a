"""Find and repair damage: `check`, `dump`, `load`, `drill`, `erasures`, `shards` and `warm`."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from progress import settings
from progress.adapters import storage, terminal
from progress.adapters.postgres import database
from progress.adapters.storage.storage import Storage
from progress.adapters.telemetry import logs
from progress.adapters.terminal import Console
from progress.cli import connections
from progress.errors import ProgressError, ProjectionError, SettingsError
from progress.projections import rebuild
from progress.recovery import checks, drill, dumps, ledger_erasures, shard_locks

shards_group = typer.Typer(
    help="Shards, and the database sessions that lock them.", no_args_is_help=True
)

Shard = Annotated[int, typer.Argument(min=0, max=15, metavar="SHARD", help="0 to 15.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
erasures_group = typer.Typer(help="Repeat erasures after a restore.", no_args_is_help=True)
_LOCATION = "A folder, or gs://bucket/prefix."

To = Annotated[
    str | None, typer.Argument(metavar="TO", help=f"{_LOCATION} By default that of DUMP_TO.")
]
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
    erased = connections.erased_digests()
    with connections.open_to_read() as connection:
        report = checks.run(connection, erased, with_rows=with_rows)
        findings = checks.check_roles(connection, connections.target().logins())
        findings += [*checks.check_migrations(connection), *report.findings]
    report = msgspec.structs.replace(report, findings=findings)
    if as_json:
        terminal.print_json(report)
    else:
        _show(report, with_rows=with_rows)
    if wrong := report.findings:
        more = f" (and {len(wrong) - 1} more, see above)" if wrong[1:] else ""
        raise ProjectionError(f"{wrong[0].found}: {wrong[0].do}{more}")


def _show(report: checks.CheckReport, *, with_rows: bool) -> None:
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

    url = connections.target().redis()
    database = connections.target().database()
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


@shards_group.command()
def end_sessions() -> None:
    """End all sessions of the database and admit no new one, so that it can be dropped."""
    if not (url := settings.current().database_url):
        raise SettingsError("DATABASE_URL is not set: only the owner can end all sessions")
    count = shard_locks.end_all(url)
    Console().print(f"{count:,} sessions ended. The database takes no other until it is dropped.")


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
    with connections.open_behind_bar(console, "erasing") as (connection, show_progress):
        overdue = ledger_erasures.count_overdue(connection)
        result = ledger_erasures.apply(connection, connections.archive(), show_progress)
    console.print(
        f"{result.erased:,} learners are erased again. {result.unknown:,} other erased learners "
        "are not in this log; their later events will be dropped.",
        soft_wrap=True,
    )
    if overdue:
        days = ledger_erasures.TIME_LIMIT_S / 86_400
        console.print(
            f"{overdue:,} requested erasures were over their time limit: they got {days:.0f} days "
            "from now on.",
            soft_wrap=True,
        )


def dump(
    to: To = None,
    daily: Annotated[
        bool,
        typer.Option("--daily", help="Only if 20 hours have passed; then remove the oldest dumps."),
    ] = False,
) -> None:
    """Write the log, the operations and the erasures into a new folder in TO."""
    if not (location := to or settings.current().dump_to):
        raise SettingsError("DUMP_TO is not set: name a folder, or gs://bucket/prefix")
    target = storage.open_storage(location)
    copy_to = None if to else settings.current().dump_copy_to
    copy = storage.open_storage(copy_to) if copy_to else None
    if daily:
        try:
            with database.translate_errors(
                lambda failure: failure.to_unavailable() or ProgressError(failure.message)
            ):
                _dump_daily(target, copy, location)
        except ProgressError as error:  # the database ends, perhaps: a line like the others
            logs.write("ERROR", f"no dump was made or copied: {error}")
            raise typer.Exit(1) from None
        return
    console = Console()
    with connections.open_behind_bar(console, "dumping") as (connection, show_progress):
        name, manifest = dumps.run(connection, target, show_progress)
    console.print(_describe(location, name, manifest), soft_wrap=True)
    if copy:
        dumps.copy_newest(target, copy)
        console.print(f"It is copied to {copy_to}.", soft_wrap=True)


def _dump_daily(target: Storage, copy: Storage | None, location: str) -> None:
    logs.configure("dump")
    if dumps.is_due(target, datetime.now(UTC)):
        with connections.open_connection() as connection:
            if not dumps.read_head(connection):
                return  # a lost database, perhaps: `load` would take its dump for the newest
            name, manifest = dumps.run(connection, target, lambda *_: None)
        removed = dumps.remove_old(target)
        logs.write("INFO", f"{_describe(location, name, manifest)} Removed: {removed}")
    if copy and (name := dumps.copy_newest(target, copy)):  # perhaps of an earlier run
        logs.write("INFO", f"The dump {name} is copied to {settings.current().dump_copy_to}.")


def _describe(location: str, name: str, manifest: dumps.DumpManifest) -> str:
    size = sum(table.bytes for table in manifest.tables) / 2**20
    where = f"{location.rstrip('/')}/{name}"
    return f"The log up to position {manifest.head:,} in {where}, {size:,.1f} MiB."


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
    with connections.open_behind_bar(console, "loading") as (connection, show_progress):
        loaded, manifest = dumps.load(connection, stored, archive, show_progress, name)
    console.print(
        f"The dump {loaded} is loaded: it ends at position {manifest.head:,}.", soft_wrap=True
    )
    rebuild.ensure(connections.connect)
    apply()


def drill_command(
    host: Annotated[
        str | None, typer.Option(help="Check the copy on this server instead, and restore nothing.")
    ] = None,
) -> None:
    """Restore the newest whole dump in DUMP_TO, or a new one, beside the database, and check it."""
    connections.use_stack()
    current = settings.current()
    if not current.database_url:
        raise SettingsError("DATABASE_URL is not set: a drill needs the URL of the owner")
    console = Console()
    if host:
        head, findings = drill.check_copy(current.database_url, host)
        console.print(f"The copy on {host}, up to position {head:,}, was checked and compared.")
        _raise_wrong(findings)
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        terminal.progress_bar(console, "loading", total=0) as show_progress,
    ):
        target = storage.open_storage(current.dump_to or folder)
        if not current.dump_to:
            with connections.open_connection() as connection:
                dumps.run(connection, target, lambda *_: None)
        done = drill.run(current.database_url, target, connections.archive(), show_progress)
    hours = (datetime.now(UTC) - done.dump.taken_at) / timedelta(hours=1)
    console.print(
        f"The dump {done.name}, {hours:,.1f} hours old, up to position {done.dump.head:,}, was "
        f"restored, rebuilt and compared in {done.seconds:,.1f} s.",
        soft_wrap=True,
    )
    for name, lack in done.newer.items():
        console.print(
            f"The newer dump {name} is not whole: {lack}. The last whole one was restored.",
            soft_wrap=True,
        )
    _raise_wrong(done.findings)


def _raise_wrong(findings: list[checks.Finding]) -> None:
    if findings:
        raise ProgressError("; ".join(f"{each.found}: {each.do}" for each in findings))
