"""`progress operations`: show, await, cancel and retry operations, whoever started them."""

import itertools
import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.table import Column, Table

from progress import settings
from progress.adapters import storage, terminal
from progress.adapters.postgres import database
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import Console
from progress.cli import connections
from progress.cli.shared_options import AsJson, AsJsonLines
from progress.errors import ProgressError
from progress.operations import accesses, export_files, records
from progress.operations.export_files import ExportedFile
from progress.operations.records import PLANS, OperationKind, OperationState
from progress.projections import schema

operations_group = typer.Typer(
    help="Multi-step operations, such as exports and erasures.", no_args_is_help=True
)
_POLL_INTERVAL_S = 0.5

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the file is written.")]
OperationId = Annotated[UUID, typer.Argument(metavar="ID", help="The id in the output of `list`.")]
_PLACES = {
    "events": "events emptied",
    "sessions": "sessions detached from the learner",
    "pending": "pending events deleted",
    "dead_letters": "dead letters emptied",
    "bundled_letters": "rejected entries of others that were in a bundle with the learner's",
    "undecodable_letters": "dead letters emptied that nobody can decode, whoever sent them",
    "snapshots": "snapshots deleted",
    "milestone_marks": "marks of published milestones deleted",
    "erasure_announcements": "announcements of the erasure deleted",
    "accesses": "traces of who read whose record deleted or freed from the learner's id",
    "poisoned": "marks of poisoned events deleted",
    "operations": "operations from which the learner's id was removed",
    "exports": "exported files deleted",
    "files": "archive files written again",
    "archived_events": "events removed from these files",
    "dropped_messages": "messages that the receiver did not take in a day, and that were dropped",
}
_COPIES = {
    "backups": "backups of the database",
    "pubsub": "messages in Pub/Sub",
    "pubsub_dead_letters": "dead letters of Pub/Sub",
}


@operations_group.command("list")
def list_newest(
    first: Annotated[int, typer.Option(min=1, max=1_000, help="The number of operations.")] = 20,
    as_json: AsJsonLines = False,
) -> None:
    """List the operations, newest first."""
    with connections.open_to_read() as connection:
        operations = records.get_operations(connection, first=first)
    table = Table(
        Column("id", min_width=36),
        "kind",
        "state",
        "done",
        "started",
        Column("error", overflow="fold"),
        box=None,
    )
    for operation in operations:
        if as_json:
            terminal.print_json(_describe(operation))
        table.add_row(
            operation.id,
            operation.kind,
            operation.state,
            f"{terminal.whole_percent(operation.progress)}%",
            f"{operation.started_at:%Y-%m-%d %H:%M:%S}",
            operation.error or "",
        )
    if not as_json:
        Console().print(table if table.row_count else "No operation was started yet.")


@operations_group.command()
def show(operation_id: OperationId) -> None:
    """Show an operation with its steps, its result, and the file that `download` saves."""
    terminal.print_json(_describe(_read(operation_id)), is_indented=True)


def _describe(operation: records.Operation) -> dict[str, object]:
    file = _exported_file(operation)
    result = msgspec.Raw((operation.result or "null").encode())
    added = {"result": result, "download": file and file.file}
    return msgspec.structs.asdict(operation) | added


@operations_group.command()
def download(operation_id: OperationId, folder: Folder = Path()) -> None:
    """Save the file of an export into FOLDER."""
    save_file(Console(), _read(operation_id), folder, command="operations")


@operations_group.command()
def wait(operation_id: OperationId, as_json: AsJson = False) -> None:
    """Wait until an operation ends, and show its result; exit with 1 unless it succeeds."""
    await_result(operation_id, as_json=as_json)


def await_result(operation_id: UUID, *, as_json: bool) -> None:
    console = Console(stderr=as_json)
    operation = await_success(console, operation_id)
    if as_json or operation.kind != OperationKind.ERASE_USER:
        terminal.print_json(msgspec.Raw((operation.result or "null").encode()))
    else:
        show_receipt(console, operation.result or "")


def await_success(console: Console, operation_id: UUID) -> records.Operation:
    operation = _read(operation_id)
    with terminal.progress_bar(console, operation.kind.lower(), total=100) as show_progress:
        while operation.finished_at is None:
            show_progress(round(100 * operation.progress))
            time.sleep(_POLL_INTERVAL_S)
            operation = _read(operation_id)
        show_progress(round(100 * operation.progress))
    if operation.state != OperationState.SUCCEEDED:
        raise ProgressError(f"{operation.state}: {operation.error}")
    return operation


def save_file(
    console: Console, operation: records.Operation, folder: Path, *, command: str
) -> None:
    """Save the file of an export; raise ProgressError if the storage does not have the file.

    If it is a learner's record, write first that the command reads it.
    """
    file = _exported_file(operation)
    source = storage.open_storage(export_files.location(settings.current()))
    if file is None or not source.has(file.object):
        raise ProgressError(
            f"the operation {operation.id} has no file: expected an export that succeeded in "
            "the last seven days"
        )
    if operation.kind == OperationKind.EXPORT_USER and operation.subject:
        with connections.open_connection() as connection:
            schema.set_search_path(connection)
            accesses.write_command(connection, command, [operation.subject])
    target = storage.open_storage(str(folder))
    name = choose_name(target, file.file)
    with target.writing(name) as output:
        for part in source.reading(file.object):
            output.write(part)
    console.print(f"{folder / name}: {file.bytes:,} bytes", soft_wrap=True)


def choose_name(target: Storage, name: str) -> str:
    """Return the name, with a number if `target` already has a file of this name.

    The existing file is kept, because it may be another learner's.
    """
    stem, dot, suffix = name.partition(".")
    numbered = (f"{stem}-{number}{dot}{suffix}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if not target.has(free))


def _exported_file(operation: records.Operation) -> ExportedFile | None:
    if operation.kind not in export_files.KINDS or operation.result is None:
        return None
    return msgspec.json.decode(operation.result, type=ExportedFile)


@operations_group.command()
def cancel(operation_id: OperationId) -> None:
    """Cancel an operation before its point of no return; a worker undoes the completed steps."""
    _change(
        operation_id,
        "cancel",
        "has ended or passed its point of no return, so that it cannot be cancelled",
        caller=records.COMMAND_LINE,
    )


@operations_group.command()
def retry(operation_id: OperationId) -> None:
    """Resume an operation that failed after its point of no return."""
    _change(
        operation_id,
        "retry",
        "cannot resume: expected an operation that failed after its point of no return, and no "
        "other unfinished operation of the same kind and subject; if it failed earlier, start a "
        "new operation",
        time_limit_s=PLANS[_read(operation_id).kind].time_limit_s,
    )


def _read(operation_id: UUID) -> records.Operation:
    with connections.open_to_read() as connection:
        operation = records.get_operation(connection, operation_id)
    if operation is None:
        raise ProgressError(f"there is no operation {operation_id}")
    return operation


def _change(operation_id: UUID, block: str, problem: str, **values: object) -> None:
    _read(operation_id)
    with connections.open_connection() as connection:
        values["operation_id"] = operation_id
        if database.run(connection, "operations/operations", block, **values) == [[None]]:
            raise ProgressError(f"the operation {operation_id} {problem}")
    connections.call_workers([operation_id])


def show_receipt(console: Console, result: str) -> None:
    """Print the receipt of an erasure.

    It maps each place to the number of rows that were erased there, or that still contain the
    learner's id after the erasure.
    """
    receipt = msgspec.json.decode(result)
    table = Table("", Column("", overflow="fold"), box=None, show_header=False)
    table.add_row("learner, as a digest", receipt["digest"])
    table.add_row("events dropped since", receipt["erased_at"])
    table.add_row("erased completely", receipt["closed_at"])
    if "reason" in receipt:
        table.add_row("reason", receipt["reason"])
    for place, name in _PLACES.items():
        if place in receipt["erased"]:
            table.add_row(name, f"{receipt['erased'][place]:,}")
    left = ", ".join(f"{rows:,} in {place}" for place, rows in receipt["places"].items())
    table.add_row("rows found afterwards", f"{receipt['found']:,}" + (f": {left}" if left else ""))
    table.add_row("other learners' events that name the id", f"{receipt['in_events_of_others']:,}")
    if "published" in receipt:
        table.add_row("published on progress-events before", receipt["published"])
    if "undecodable_letters" in receipt:
        table.add_row("later letters that nobody can decode", receipt["undecodable_letters"])
    for copies, name in _COPIES.items():
        table.add_row(f"{name} deleted by", receipt["copies_until"][copies])
    console.print(table)
