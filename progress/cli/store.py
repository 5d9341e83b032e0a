"""`progress migrate`, `status`, `events`, `batch`, `rebuild`, `contract`: the event store's."""

import contextlib
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from progress import settings
from progress.adapters import terminal
from progress.adapters.postgres import logins, migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub import publisher, wakeups
from progress.cli import places
from progress.errors import StackError
from progress.event_store import log
from progress.event_store.log import StoredEvent
from progress.local import readiness
from progress.operations import claim
from progress.projections import batch, drop_unused, rebuild
from progress.projections import schema as read_model_schema

_PAGE = 1_000
_BATCH_WITHIN = 600.0


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    for command in (migrate, status, events):
        app.command()(command)
    app.command("batch")(batch_command)
    app.command("contract")(contract_command)
    app.command("rebuild")(rebuild_command)


def migrate() -> None:
    """Bring the database to the present schemas: migrations, logins, then the read models."""
    given = settings.current()
    admitted = logins.parse(given.database_logins or "")
    with (
        contextlib.closing(places.connect()) as connection,
        migrations.exclusive(connection),
        migrations.keep_refusal(connection, given.cloud_run_execution),
    ):
        applied = migrations.apply(connection)
        logins.apply(connection, admitted)
        made = rebuild.ensure(places.connect)
    for name in applied:
        typer.echo(f"applied {name}")
    for login in admitted:
        typer.echo(f"{login.name} logs in as {login.group}")
    typer.echo("The read models are made." if made else "The read models are there.")


def contract_command() -> None:
    """Drop the read models of all code but this: for when this alone is served."""
    connection = places.connect()
    try:
        for schema in drop_unused.run(connection):
            typer.echo(f"dropped {schema}")
    finally:
        connection.close()
    typer.echo(f"Kept: {read_model_schema.schema_name()}.")


def batch_command() -> None:
    """Run the batch job now, after a scheduled run that is at it."""
    report = run_batch()
    typer.echo(
        f"{report.learners} learners folded, {report.swept} events swept up, "
        f"{report.replayed} dead letters replayed"
    )


def run_batch() -> batch.Report:
    """What a whole run of the batch job did; it waits for another run to end."""
    connection, change_publisher = places.connect(), places.change_publisher()
    reports: list[batch.Report] = []

    def had_the_lock() -> bool:
        reports.append(batch.run(connection, publisher=change_publisher))
        return reports[-1].learners is not None

    try:
        readiness.wait(had_the_lock, "the scheduled run", seconds=_BATCH_WITHIN)
        _call_workers(claim.unattended(connection))
    finally:
        connection.close()
    return reports[-1]


def _call_workers(operation_ids: list[UUID]) -> None:
    """To operations that nobody works on; without a local Pub/Sub that is left to the job."""
    commands = [publisher.Command(wakeups.operation_command(each)) for each in operation_ids]
    if commands:
        with contextlib.suppress(StackError):
            project, emulator = places.pubsub()
            publisher.publish(
                commands, project=project, emulator=emulator, on_published=lambda _: None
            )


def rebuild_command() -> None:
    """Fold every projection anew beside the live ones, then swap."""
    places.connect().close()  # no bar where there is no database
    console = Console()
    with terminal.progress_bar(console, "rebuilding", total=0) as reached:
        folded = rebuild.run(
            places.connect, on_progress=reached, publisher=places.change_publisher()
        )
    console.print(f"{folded:,} events folded, and swapped in.")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Count what is stored, and tell how far the projections are behind."""
    connection = places.connect()
    counts = _rows(connection, "event_store/status", "counts")[0]
    read_model_schema.set_search_path(connection)
    projections = _rows(connection, "projections/checkpoints", "status", now=datetime.now(UTC))
    connection.close()
    for projection in projections:
        del projection["updated_at"]
    if as_json:
        typer.echo(msgspec.json.encode(counts | {"projections": projections}).decode())
        return
    _show(counts, projections)


def _show(counts: dict[str, object], projections: list[dict[str, object]]) -> None:
    console = Console()
    console.print("  ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()))
    table = Table("projection", "", "events behind", "seconds behind", "status", box=None)
    for each in projections:
        kind = "realtime" if each["realtime"] else "batch"
        behind = (f"{each['events_behind']:,}", f"{each['seconds_behind']:.1f}")
        table.add_row(str(each["name"]), kind, *behind, str(each["status"]))
    console.print(table)


def events(
    user: Annotated[str | None, typer.Option(help="This learner's alone.")] = None,
) -> None:
    """Print the audit trail: every event as it was recorded, one JSON object a line."""
    connection = places.connect()
    if user is None:
        position = 1
        while page := log.read_all_events(connection, position, _PAGE):
            _print(page)
            position = page[-1].global_position + 1
    else:
        version, stream = 1, f"learner-{user}"
        while page := log.read_events(connection, stream, version, version + _PAGE - 1):
            _print(page)
            version = page[-1].stream_version + 1
    connection.close()


def _print(page: list[StoredEvent]) -> None:
    for event in page:
        typer.echo(msgspec.json.encode(event).decode())


def _rows(
    connection: Connection, file: str, block: str, **values: object
) -> list[dict[str, object]]:
    rows = connection.run(blocks(file)[block], **values)
    names = [column["name"] for column in connection.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]
