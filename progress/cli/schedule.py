"""`progress schedule`: list, pause, resume and run the jobs of the cloud or the local stack."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from progress import settings
from progress.adapters import cloud_scheduler, terminal
from progress.adapters.local_schedule import BATCH
from progress.adapters.terminal import Console
from progress.cli import connections, maintenance
from progress.cli.shared_options import AsJsonLines
from progress.errors import StackError

if TYPE_CHECKING:
    from progress.serve.batch_schedule import LocalScheduler

schedule_group = typer.Typer(
    help="The jobs of Cloud Scheduler or of the local stack.", no_args_is_help=True
)


Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help=f"By default {BATCH}.")]
Project = Annotated[
    str | None,
    typer.Option(
        help="The Google Cloud project, by default PUBSUB_PROJECT_ID. If no project is set, the "
        "command uses the local stack."
    ),
]
Region = Annotated[
    str | None, typer.Option(help="The schedules' region, by default SCHEDULER_REGION.")
]


@schedule_group.command("list")
def list_all(
    project: Project = None,
    region: Region = None,
    as_json: AsJsonLines = False,
) -> None:
    """List the jobs with their schedules, their states and the results of their last runs."""
    schedules = scheduler(project, region).all()
    table = Table("name", "schedule", "state", "last", "ended", "next", box=None)
    for schedule in schedules:
        if as_json:
            terminal.print_json(schedule)
        last, following = (
            f"{moment:%Y-%m-%d %H:%M}" if moment else ""
            for moment in (schedule.last_at, schedule.next_at)
        )
        ended = f"with code {schedule.code}" if schedule.code else "well"
        table.add_row(
            schedule.name,
            schedule.schedule,
            schedule.state,
            last,
            ended if schedule.last_at else "",
            following,
        )
    if not as_json:
        Console().print(table if table.row_count else "There are no schedules.")


@schedule_group.command()
def pause(names: Names = None, project: Project = None, region: Region = None) -> None:
    """Pause these jobs until they are resumed; a run in progress continues."""
    chosen = scheduler(project, region)
    for name in names or [BATCH]:
        typer.echo(f"{name} is paused{'' if chosen.pause(name) else ' already'}.")


@schedule_group.command()
def resume(names: Names = None, project: Project = None, region: Region = None) -> None:
    """Resume these jobs."""
    chosen = scheduler(project, region)
    for name in names or [BATCH]:
        typer.echo(f"{name} is enabled{'' if chosen.resume(name) else ' already'}.")


@schedule_group.command()
def run(names: Names = None, project: Project = None, region: Region = None) -> None:
    """Start these jobs now, even if they are paused.

    In the cloud, the command returns before they end.
    """
    chosen = scheduler(project, region)
    for name in names or [BATCH]:
        chosen.run(name)
        typer.echo(f"{name} is started.")


def scheduler(
    project: str | None = None, region: str | None = None
) -> "cloud_scheduler.Scheduler | LocalScheduler":
    current = settings.current()
    project = project or current.pubsub_project_id
    if project == settings.LOCAL_PROJECT and not current.cloud_scheduler_emulator_host:
        from progress.serve.batch_schedule import LocalScheduler

        try:
            return LocalScheduler(connections.target().folder, maintenance.run_batch)
        except StackError as error:
            raise StackError(f"{error}, or name a --project") from None
    return cloud_scheduler.Scheduler(project, region or current.scheduler_region)
