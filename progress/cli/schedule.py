"""`progress schedule`: list, pause, resume and run the jobs of Cloud Scheduler."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from progress import settings
from progress.adapters import cloud_scheduler

_schedule = typer.Typer(help="What Cloud Scheduler starts.", no_args_is_help=True)

_BATCH = "progress-batch"
_REGION = "europe-west1"  # as in infra/terraform

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help=f"{_BATCH} where none is given.")
]
Project = Annotated[str | None, typer.Option(help="PUBSUB_PROJECT_ID where it is not given.")]
Region = Annotated[str, typer.Option(help="The schedules' region.")]


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.add_typer(_schedule, name="schedule")


@_schedule.command("list")
def list_all(
    project: Project = None,
    region: Region = _REGION,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the schedules: when they run, whether they are held, how the last run ended."""
    schedules = _scheduler(project, region).all()
    table = Table("name", "schedule", "state", "last", "ended", "next", box=None)
    for schedule in schedules:
        if as_json:
            typer.echo(msgspec.json.encode(schedule).decode())
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


@_schedule.command()
def pause(names: Names = None, project: Project = None, region: Region = _REGION) -> None:
    """Hold these schedules until they are resumed; what runs now runs to its end."""
    scheduler = _scheduler(project, region)
    for name in names or [_BATCH]:
        typer.echo(f"{name} is held{'' if scheduler.pause(name) else ' already'}.")


@_schedule.command()
def resume(names: Names = None, project: Project = None, region: Region = _REGION) -> None:
    """Let these schedules go on."""
    scheduler = _scheduler(project, region)
    for name in names or [_BATCH]:
        typer.echo(f"{name} goes on{'' if scheduler.resume(name) else ' already'}.")


@_schedule.command()
def run(names: Names = None, project: Project = None, region: Region = _REGION) -> None:
    """Run these now, held or not; it does not wait for their end."""
    scheduler = _scheduler(project, region)
    for name in names or [_BATCH]:
        scheduler.run(name)
        typer.echo(f"{name} is started.")


def _scheduler(project: str | None, region: str) -> cloud_scheduler.Scheduler:
    return cloud_scheduler.Scheduler(project or settings.current().pubsub_project_id, region)
