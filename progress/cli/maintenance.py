"""`progress migrate`, `status`, `batch`, `prune-schemas`, `move-views`: log and read models."""

from datetime import UTC, datetime
from typing import Any

import typer
from rich.table import Table

from progress import settings
from progress.adapters import terminal
from progress.adapters.postgres import database, logins, migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.terminal import Console
from progress.cli import connections, shared_options
from progress.cli.shared_options import AsJson
from progress.operations import records
from progress.projections import batch, live, rebuild, replacement, views
from progress.projections import schema as read_model_schema
from progress.projections.projector import SHARDS
from progress.serve import readiness

_BATCH_TIMEOUT_S = 600.0


def migrate() -> None:
    """Apply the migrations, create the logins, then build the read models."""
    current = settings.current()
    database_logins = logins.parse(current.database_logins or "")
    with (
        connections.open_connection() as connection,
        migrations.exclusive(connection),
        migrations.keep_refusal(connection, current.cloud_run_execution),
    ):
        applied = migrations.apply(connection, logins=connections.target().logins())
        logins.apply(connection, database_logins)
        created = rebuild.ensure(connections.connect)
    for name in applied:
        typer.echo(f"applied {name}")
    for login in database_logins:
        typer.echo(f"{login.name} logs in as {login.group}")
    typer.echo("The read models are built." if created else "The read models exist already.")
    if (applied or created) and connections.target().is_stack_running:
        typer.echo(
            "The local stack still uses the former database schema: restart it with "
            "`progress down` and `progress up`."
        )


def prune_schemas_command(yes: shared_options.Yes = False) -> None:
    """Drop the read models of all other versions that served no query in the last hour.

    A rollback to such a version is a rebuild then. The batch job does the same after days.
    """
    shared_options.ask("Drop the read models of all other versions?", yes=yes)
    with connections.open_connection() as connection:
        for schema in replacement.drop_unused(connection):
            typer.echo(f"dropped {schema}")
        kept = live.find(connection)
    typer.echo(f"Kept: {', '.join(sorted({read_model_schema.schema_name(), *kept.schemas}))}.")


def move_views() -> None:
    """Let the views of the schema `progress` read the read models of this version.

    A release runs this command when the traffic moves. If queries use the views for more than 90
    seconds, the command fails and the views stay.
    """
    with connections.open_connection() as connection:
        views.move(connection)
    typer.echo(f"The views read {read_model_schema.schema_name()}.")


def batch_command(as_json: AsJson = False) -> None:
    """Run the batch job now; if a scheduled run is in progress, first wait until it ends."""
    report = run_batch()
    if as_json:
        terminal.print_json(report)
        return
    typer.echo(
        f"{report.learners} learners folded, {report.swept} late events folded, "
        f"{report.replayed} dead letters replayed"
    )


def run_batch() -> batch.BatchReport:
    """Wait until no other run is in progress, run the whole batch job, and return the report."""
    reports: list[batch.BatchReport] = []

    def run_with_lock() -> bool:
        reports.append(batch.run(connection))
        return reports[-1].learners is not None

    with connections.open_connection() as connection:
        readiness.wait(run_with_lock, "the scheduled run", seconds=_BATCH_TIMEOUT_S)
        # The functions publish what the run has left, because they know the setting PUBLISH_EVENTS.
        is_left = database.run(connection, "event_store/publication", "waiting")[0][0]
        connections.call_workers(records.list_unclaimed(connection), SHARDS if is_left else ())
    return reports[-1]


def status(as_json: AsJson = False) -> None:
    """Count events, dead letters and undelivered messages, and show the projections' lag."""
    with connections.open_to_read() as connection:
        counts, (*projections, out) = read_status(connection)
        pending = read_oldest_pending(connection)
    undelivered = connections.count_undelivered()
    if as_json:
        held = None
        if not isinstance(undelivered, str):
            held = [each._asdict() for each in undelivered]
        report = counts | {"projections": projections, "events_out": out, "undelivered": held}
        terminal.print_json(report | {"oldest_pending_seconds": pending})
        return
    console = Console()
    console.print("  ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()))
    if pending:
        hours = f"{pending / 3_600:,.1f} hours"
        console.print(f"The oldest pending event has waited for its session for {hours}.")
    if isinstance(undelivered, str):
        console.print(f"Pub/Sub: {undelivered}.", soft_wrap=True)
    elif undelivered:
        waiting = sum(each.messages for each in undelivered)
        console.print(f"{waiting:,} messages are not delivered yet.")
        for each in undelivered:
            if each.messages:
                console.print(f"  {each.messages:,} of {each.subscription}", soft_wrap=True)
    table = Table("projection", "", "events behind", "seconds behind", "status", box=None)
    for row in (*projections, out):
        kind = "realtime" if row["realtime"] else "batch"
        behind = (f"{row['events_behind']:,}", f"{row['seconds_behind']:.1f}")
        table.add_row(str(row["name"]), kind, *behind, str(row["status"]))
    console.print(table)


def read_status(connection: Connection) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the log's counts, and the lag of each projection; the last row is what leaves."""
    counts = database.fetch(connection, "event_store/status", "counts")[0]
    return counts, read_lags(connection)


def read_lags(connection: Connection) -> list[dict[str, Any]]:
    read_model_schema.set_search_path(connection)
    values = settings.current().lag_limits() | {"now": datetime.now(UTC)}
    projections = database.fetch(connection, "projections/checkpoints", "status", **values)
    for projection in projections:
        del projection["updated_at"], projection["changed_at"]
    return projections


def read_oldest_pending(connection: Connection) -> float:
    """Return for how many seconds the oldest event has waited for its session; 0 if none waits."""
    return float(database.run(connection, "event_store/status", "oldest pending")[0][0])
