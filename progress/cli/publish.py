"""`progress publish`: post the envelopes of a file, or publish them to their topics."""

import codecs
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.cli import publishing
from progress.cli.publishing import Publication, ToPubsub
from progress.cli.shared_options import AsJson
from progress.errors import ProgressError
from progress.event_store.post_answers import Recorded
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
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with 1 for an unknown event type, which is not published, for a pending event "
        "and for a dead letter.",
    ),
]


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
    strict: Strict = False,
    to_pubsub: ToPubsub = False,
    as_json: AsJson = False,
) -> None:
    """Check envelopes, then post them to ingest, and print what became of them.

    On the machine of `progress up` or `serve`, ingest is the system's, else that of EVENTS_URL.
    """
    if check and force:
        raise typer.BadParameter("expected no --force", param_hint="--check")
    if check:
        _check(file, strict=strict, as_json=as_json)
        return
    with publishing.explain_interrupt(to_pubsub=to_pubsub) as publication:
        places = _run(file, publication, force=force, strict=strict)
        if as_json:
            terminal.print_json({"published": publication.count} | publication.report())
        else:
            typer.echo(f"{publication.count} published")
            publication.tell(places.__getitem__)
        if publication.recorded and strict:
            _require_counted(publication.recorded)


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
        _warn_of_unnamed_events(lines)
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


def _run(file: str, publication: Publication, *, force: bool, strict: bool) -> list[str]:
    """Publish the file; return the place of each entry that was posted."""
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
    _warn_of_unnamed_events(lines)
    publication.unnamed = sum(line.unnamed for line in lines)
    if warning := envelope_lines.find_warning((at for line in lines for at in line.times), now):
        typer.echo(warning, err=True)
    publication.open()
    console = Console(stderr=True)
    if publication.to_pubsub:
        publication.send_all(console, [*envelope_lines.pack(lines)])
        return []
    entries = [*envelope_lines.list_entries(lines)]
    publication.send_all(console, [entry for *_, entry in entries])
    return [f"line {number}, index {index}: " for number, index, _ in entries]


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


def _warn_of_unnamed_events(lines: Sequence[Line]) -> None:
    unnamed = [line.number for line in lines if line.unnamed]
    if unnamed:
        place = f"line {unnamed[0]}{_list_others(unnamed[1:])}: no event_id"
        typer.echo(f"{place}; each time that it is published, it counts once more", err=True)


def _require_valid(lines: Sequence[Line]) -> None:
    """Print a line for each line that ingest would reject; if there is one, raise ProgressError."""
    refused = [line for line in lines if line.reason]
    for line in refused:
        typer.echo(f"line {line.number}: {line.reason}", err=True)
    if refused:
        is_json = not refused[0].reason.startswith("expected JSON")
        one_line = "write each event (or each array of events) on one line"
        forced = "correct them, or publish the lines as dead letters with --force"
        raise ProgressError(
            f"{len(refused):,} of {len(lines):,} lines would be rejected; nothing was published: "
            + (forced if is_json else one_line)
        )


def _list_others(numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    listed = ", ".join(map(str, numbers[:_LISTED_LINES]))
    more = len(numbers) - _LISTED_LINES
    return f" (also line {listed}{f' and {more:,} more' if more > 0 else ''})"


def _require_counted(found: Recorded) -> None:
    if count := len(found.dead_letters):
        raise ProgressError(f"{count:,} events became dead letters")
    if found.pending:
        raise ProgressError(f"{found.pending:,} events are pending: publish their SessionStarted")
    if found.unknown_types:
        raise ProgressError(f"{found.unknown_types:,} events are of unknown types")
