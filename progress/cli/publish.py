"""`progress publish`: publish the envelopes of a file to their topics."""

import codecs
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from progress.adapters import terminal
from progress.adapters.postgres.database import Connection
from progress.adapters.terminal import Console
from progress.cli import connections, publishing
from progress.cli.publishing import Publication
from progress.cli.shared_options import AsJson
from progress.errors import ProgressError
from progress.event_store import arrivals
from progress.event_store.arrivals import Before, PublishedCounts
from progress.importers import envelope_lines
from progress.importers.envelope_lines import Fault, Line

_LISTED_LINES = 5  # a message names the first affected line, then lists at most this many others

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-", help="Each line is an envelope in JSON, or an array of envelopes."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Publish even if events would be rejected.")]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Publish nothing, and name each event that ingest would reject, by its line or its "
        "index, from 0. The file may also be one envelope, or one array, of many lines. With "
        "--strict, an unknown event type is a fault, too. Needs neither a stack nor a network.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait until the events are recorded. Before publishing, reject events whose id is "
        "already recorded with other content.",
    ),
]


Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Like --wait, and exit with 1 for an unknown event type, which is not published, for "
        "a pending event and for a dead letter.",
    ),
]


class PublishReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The output of `--json`; `arrivals` is set with `--wait` and `--strict`."""

    published: int
    arrivals: PublishedCounts | None = None


class FoundFault(msgspec.Struct, frozen=True):
    """Why an event would be rejected; `line` is null if the file is one envelope or array."""

    line: int | None
    index: int
    reason: str


class FaultReport(msgspec.Struct, frozen=True):
    events: int
    faults: list[FoundFault]


def publish(
    file: File,
    *,
    check: Check = False,
    force: Force = False,
    wait: Wait = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Check envelopes, then publish each to the topic of its event type; print their count."""
    if check and (force or wait):
        raise typer.BadParameter("expected no --force and no --wait", param_hint="--check")
    if check:
        _check(file, strict=strict, as_json=as_json)
        return
    with publishing.explain_interrupt() as publication:
        _run(file, publication, force=force, wait=wait, strict=strict, as_json=as_json)


def _check(file: str, *, strict: bool, as_json: bool) -> None:
    texts = envelope_lines.split(b"".join(_read_lines(file)))
    lines = list(envelope_lines.check(texts, datetime.now(UTC)))
    faults = [
        FoundFault(line.number if len(texts) > 1 else None, fault.index, fault.reason)
        for line in lines
        for fault in (*line.faults, *(_find_unknown_types(line) if strict else ()))
    ]
    report = FaultReport(sum(line.events for line in lines), faults)
    if as_json:
        terminal.print_json(report)
    else:
        _warn_of_unknown_names(lines)
        _warn_of_unnamed_events(lines, must_have_id=False)
        for fault in faults:
            place = f"line {fault.line}, " if fault.line else ""
            typer.echo(f"{place}index {fault.index}: {fault.reason}", err=True)
    if faults:
        faulty = len({(fault.line, fault.index) for fault in faults})
        raise ProgressError(f"{faulty:,} of {report.events:,} events have a fault")
    if not as_json:
        typer.echo(f"no fault in {report.events:,} event{'' if report.events == 1 else 's'}")


def _find_unknown_types(line: Line) -> list[Fault]:
    return [
        Fault(index, f"{envelope_lines.describe_unknown_type(name)} - at $.event_type")
        for index, name in line.unknown_types.items()
    ]


def _run(
    file: str, publication: Publication, *, force: bool, wait: bool, strict: bool, as_json: bool
) -> None:
    now = datetime.now(UTC)
    lines = list(envelope_lines.check(_read_lines(file), now))
    if not force:
        _require_valid(lines)
    _warn_of_unknown_names(lines)
    unknown = {name for line in lines for name in line.unknown_types.values()}
    if unknown and strict and not force:
        raise ProgressError(
            f"{len(unknown):,} event types are unknown; nothing was published: correct them, or "
            "publish the lines with --force"
        )
    _warn_of_unnamed_events(lines, must_have_id=wait or strict)
    publication.unnamed = sum(line.unnamed for line in lines)
    if warning := envelope_lines.find_warning((at for line in lines for at in line.times), now):
        typer.echo(warning, err=True)
    console = Console(stderr=True)
    if not (wait or strict):
        _report(PublishReport(_publish(console, lines, publication)), as_json=as_json)
        return
    with connections.open_connection() as connection:
        event_ids = [event_id for line in lines for event_id in line.event_ids]
        before = arrivals.read_before(connection, event_ids)
        lines = _compare(connection, lines, before, now)
        if not force:
            _require_valid(lines)
        count = _publish(console, lines, publication)
        conflicts = [event_id for line in lines for event_id in line.conflicts]
        with terminal.progress_bar(console, "recording", total=len(event_ids)) as show_progress:
            found = arrivals.await_arrivals(connection, event_ids, before, conflicts, show_progress)
    # Invalid events are not in `event_ids`. Ingest makes a dead letter of each.
    rejected = sum(line.events - len(line.event_ids) for line in lines)
    found = msgspec.structs.replace(found, dead_letters=found.dead_letters + rejected)
    _report(PublishReport(count, found), as_json=as_json)
    _require_arrival(found, strict=strict)


def _compare(
    connection: Connection, lines: list[Line], before: Before, now: datetime
) -> list[Line]:
    """Mark each line that has an event whose id is recorded with other content."""
    known = before.recorded | before.pending
    events = [
        event
        for line in lines
        if not known.isdisjoint(line.event_ids)
        for event in envelope_lines.decode(line.data, now)
    ]
    conflicts = arrivals.find_conflicts(connection, events)
    fault = Fault(0, "the log has this id with other content - at $.event_id")
    return [envelope_lines.mark_conflicts(line, conflicts, fault) for line in lines]


def _publish(console: Console, lines: Sequence[Line], publication: Publication) -> int:
    messages = list(envelope_lines.pack(lines))
    project, emulator = connections.pubsub()
    total = sum(line.events for line in lines)
    return publication.publish(console, messages, total, project=project, emulator=emulator)


def _read_lines(file: str) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            yield source.readline().removeprefix(codecs.BOM_UTF8)
            yield from source
    except OSError as error:
        raise ProgressError(f"cannot read {file}: {error.strerror}") from None


def _warn_of_unknown_names(lines: Sequence[Line]) -> None:
    """Warn once about each unknown event type and each misspelt field."""
    places: dict[str, list[int]] = {}
    for line in lines:
        warnings = [
            f"{envelope_lines.describe_unknown_type(name)}; it is recorded, but not counted"
            for name in dict.fromkeys(line.unknown_types.values())
        ]
        for name, nearest in line.misspelt.items():
            unknown = f"unknown field {name[:60]!r} (did you mean {nearest}?)"
            warnings.append(f"{unknown}; it is not used")
        for warning in warnings:
            places.setdefault(warning, []).append(line.number)
    for warning, numbers in places.items():
        typer.echo(f"line {numbers[0]}{_list_others(numbers[1:])}: {warning}", err=True)


def _warn_of_unnamed_events(lines: Sequence[Line], *, must_have_id: bool) -> None:
    """Warn of events without an id, or raise ProgressError, because nobody can wait for them."""
    unnamed = [line.number for line in lines if line.unnamed]
    if not unnamed:
        return
    place = f"line {unnamed[0]}{_list_others(unnamed[1:])}: no event_id"
    if must_have_id:
        advice = "give it one, or publish without --wait and --strict"
        raise ProgressError(f"{place}; nothing was published: {advice}")
    typer.echo(f"{place}; each time that it is published, it counts once more", err=True)


def _require_valid(lines: Sequence[Line]) -> None:
    """Print a line for each line that ingest would reject; if there is one, raise ProgressError."""
    refused = [line for line in lines if line.reason]
    for line in refused:
        typer.echo(f"line {line.number}: {line.reason}", err=True)
    if refused:
        is_json = not refused[0].reason.startswith("expected JSON")
        one_line = "write each event (or each array of events) on one line"
        advice = "correct them" if is_json else one_line
        raise ProgressError(
            f"{len(refused):,} of {len(lines):,} lines would be rejected; nothing was published: "
            f"{advice}, or publish the lines as dead letters with --force"
        )


def _list_others(numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    listed = ", ".join(map(str, numbers[:_LISTED_LINES]))
    more = len(numbers) - _LISTED_LINES
    return f" (also line {listed}{f' and {more:,} more' if more > 0 else ''})"


def _report(report: PublishReport, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(report)
        return
    typer.echo(f"{report.published} published")
    if found := report.arrivals:
        before = found.recorded_before
        typer.echo(
            f"{found.recorded} recorded, {found.pending} pending, {found.dead_letters} dead letters"
            + (f"; {before} recorded before this command" if before else "")
        )
        for session_id, events in found.waiting.items():
            typer.echo(
                f"{events} pending: session {session_id!r} has no SessionStarted yet; publish it"
            )


def _require_arrival(found: PublishedCounts, *, strict: bool) -> None:
    if found.dead_letters:
        raise ProgressError(
            f"{found.dead_letters:,} events became dead letters: see `progress dead-letters list`"
        )
    if found.missing:
        raise ProgressError(
            f"{found.missing:,} events have not arrived, and none arrived for a minute: see "
            "`progress status`; events of erased learners never arrive"
        )
    if strict and found.pending:
        raise ProgressError(f"{found.pending:,} events are pending: publish their SessionStarted")
