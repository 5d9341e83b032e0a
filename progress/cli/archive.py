"""`progress archive`: copy the log into Parquet files, check them, restore the log from them."""

import sys
from typing import Annotated

import msgspec
import typer

from progress import settings
from progress.adapters import terminal
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import Console
from progress.archive import check as archive_check
from progress.archive import log_rows, manifests, merges, runs
from progress.archive import restore as archive_restore
from progress.archive.manifests import RangeEntry
from progress.archive.runs import Request
from progress.cli import connections
from progress.cli.shared_options import AsJson
from progress.errors import ArchiveRunning, ProgressError


class ArchiveStatus(msgspec.Struct, frozen=True):
    """The state of the archive after a run.

    `ranges` is the number of ranges before the merges. `ranges` and `upto` are null if there is no
    archive. `merges` is null without `--merge`. If another run works on the archive, this run skips
    its remaining steps, and their numbers are null.
    """

    location: str
    ranges: int | None = None
    upto: int | None = None
    merges: int | None = None


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
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="After archiving, merge each group of ten neighbouring ranges of similar size.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the log into Parquet files in ARCHIVE_BUCKET, and replace lost files."""
    if context.invoked_subcommand:
        return
    console, stored = Console(stderr=as_json), connections.archive()
    report = ArchiveStatus(manifests.location(settings.current()))
    try:
        report = _run(console, stored, report, is_now=now)
        if merge:
            with connections.open_connection() as connection:
                merged = merges.run(connection, stored, lambda: None)
            console.print(f"{merged} {'merge' if merged == 1 else 'merges'} of ten ranges.")
            report = msgspec.structs.replace(report, merges=merged)
    except ArchiveRunning as error:
        undone = "archived" if report.ranges is None else "merged"
        console.print(f"Nothing {undone}: {error}.", soft_wrap=True)
    if as_json:
        terminal.print_json(report)


def _run(
    console: Console, stored: Storage, report: ArchiveStatus, *, is_now: bool
) -> ArchiveStatus:
    buckets = settings.current().archive_buckets
    with connections.open_behind_bar(console, "archiving") as (connection, show_progress):
        archived = runs.run(connection, stored, buckets, Request(is_now=is_now), show_progress)
        is_empty = archived is None and not log_rows.find_end(connection)
    if archived is None:
        reason = _NOT_FULL
        if is_now:
            reason = "the log has no events" if is_empty else _NOT_FOLDED
        console.print(f"Nothing archived in {report.location}: {reason}.", soft_wrap=True)
        return report
    console.print(
        f"Archived in {report.location}: {_count(archived.ranges)} up to position "
        f"{archived.upto:,}.",
        soft_wrap=True,
    )
    return msgspec.structs.replace(report, ranges=len(archived.ranges), upto=archived.upto)


def _count(ranges: list[RangeEntry]) -> str:
    return f"{len(ranges)} {'range' if len(ranges) == 1 else 'ranges'}"


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
                report = archive_check.run_deep(connection, stored, show_progress)
        else:
            report = archive_check.run(stored, show_progress)
    if as_json:
        summary = {"ranges": len(report.manifest.ranges), "upto": report.manifest.upto}
        counts = {"files": report.files, "events": report.events, "findings": report.findings}
        terminal.print_json(summary | counts)
    else:
        _show(console, report)
    if report.findings:
        first, others = report.findings[0], len(report.findings) - 1
        more = f" (and {others} more, see above)" if others else ""
        raise ProgressError(f"{first.path} {first.problem}{more}")


def _show(console: Console, report: archive_check.ArchiveFindings) -> None:
    console.print(
        f"{_count(report.manifest.ranges)} up to position {report.manifest.upto:,}: "
        f"{report.files:,} files with {report.events:,} events",
        soft_wrap=True,
    )
    for finding in report.findings:
        console.print(f"WRONG  {finding.path} {finding.problem}", soft_wrap=True)
    if not report.findings:
        console.print("The archive is complete.")


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
