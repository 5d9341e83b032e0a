"""`progress archive`: copy the log into Parquet files, check them, restore the log from them."""

import sys
from typing import Annotated

import msgspec
import typer

from progress import settings
from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.archive import catalogue, log_rows, runs
from progress.archive import check as archive_check
from progress.archive import restore as archive_restore
from progress.archive.catalogue import Catalogue
from progress.archive.runs import Request
from progress.cli import connections
from progress.cli.shared_options import AsJson
from progress.errors import ArchiveRunning, ProgressError


class ArchiveStatus(msgspec.Struct, frozen=True):
    """The state of the archive after a run.

    `ranges` and `upto` are null if there is no archive, or if another run works on it.
    """

    location: str
    ranges: int | None = None
    upto: int | None = None


_NOT_FULL = (
    f"the log has fewer than {runs.RANGE:,} events, recorded in the last {runs.MAX_AGE_DAYS} "
    "days; to archive them now, run `progress archive --now`"
)

_NOT_FOLDED = (
    "the archive takes events once they are folded, and the first one is not; `progress status` "
    "shows what waits"
)

archive_group = typer.Typer(help="The archive of the event log.", invoke_without_command=True)


@archive_group.callback()
def archive(
    context: typer.Context,
    now: Annotated[
        bool,
        typer.Option("--now", help="Archive the newest events, too, before they fill a range."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the log into Parquet files in ARCHIVE_BUCKET, and replace lost files."""
    if context.invoked_subcommand:
        return
    console, stored = Console(stderr=as_json), connections.archive()
    buckets = settings.current().archive_buckets
    report = ArchiveStatus(catalogue.location(settings.current()))
    try:
        with connections.open_behind_bar(console, "archiving") as (connection, show_progress):
            found = runs.run(connection, stored, buckets, Request(is_now=now), show_progress)
            is_empty = not log_rows.recorded_times(connection, [1])
    except ArchiveRunning as error:
        console.print(f"Nothing archived: {error}.", soft_wrap=True)
    else:
        if found.ranges:
            text = f"Archived in {report.location}: {_describe(found)}."
            report = ArchiveStatus(report.location, len(found.ranges), found.upto)
        else:
            reason = "the log has no events" if is_empty else _NOT_FOLDED
            reason = reason if now else _NOT_FULL
            text = f"Nothing archived in {report.location}: {reason}."
        console.print(text, soft_wrap=True)
    if as_json:
        terminal.print_json(report)


def _describe(found: Catalogue) -> str:
    count = len(found.ranges)
    return f"{count} {'range' if count == 1 else 'ranges'} up to position {found.upto:,}"


@archive_group.command()
def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the files, and compare their rows with the log's.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that each file exists and has the right size; if not, exit with 1."""
    is_quiet = as_json and not sys.stderr.isatty()
    console, stored = Console(stderr=as_json, quiet=is_quiet), connections.archive()
    with terminal.progress_bar(console, "checking", total=0) as show_progress:
        if deep:
            with connections.open_to_read() as connection:
                found = archive_check.run_deep(connection, stored, show_progress)
        else:
            found = archive_check.run(stored, show_progress)
    files, events = len(found.files), sum(max(file.rows - file.erased, 0) for file in found.files)
    if as_json:
        summary = {"ranges": len(found.ranges), "upto": found.upto}
        counts = {"files": files, "events": events, "findings": found.findings}
        terminal.print_json(summary | counts)
    else:
        text = f"{_describe(found)}: {files:,} files with {events:,} events"
        console.print(text, soft_wrap=True)
        for finding in found.findings:
            console.print(f"WRONG  {finding.path} {finding.problem}", soft_wrap=True)
        if not found.findings:
            console.print("The archive is complete.")
    if found.findings:
        first, others = found.findings[0], len(found.findings) - 1
        more = f" (and {others} more, see above)" if others else ""
        raise ProgressError(f"{first.path} {first.problem}{more}")


@archive_group.command()
def restore() -> None:
    """Fill an empty log from the archive; afterwards, run `progress rebuild`."""
    console, stored = Console(), connections.archive()
    with connections.open_behind_bar(console, "restoring") as (connection, show_progress):
        restored = archive_restore.run(connection, stored, show_progress)
    console.print(
        f"The log has {restored.positions:,} events again; {restored.erased:,} of them are "
        "erased. Run `progress rebuild`.",
        soft_wrap=True,
    )
