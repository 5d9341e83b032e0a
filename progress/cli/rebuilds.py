"""`progress rebuild`: rebuild the read models from the log or from the archive."""

import enum
import functools
import signal
import subprocess
import sys
import time
from typing import Annotated
from uuid import uuid4

import typer

from progress import settings
from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.archive import manifests
from progress.cli import connections
from progress.errors import RebuildRunning
from progress.projections import rebuild
from progress.recovery import archive_rebuild, beam, runners
from progress.recovery.archive_rebuild import Engine, Source
from progress.settings import Settings

_ATTEMPTS = 3  # a killed task is started again, up to this number of attempts
_POLL_INTERVAL_S = 0.1
_LOCK_TIMEOUT_S = 60.0  # the wait for PostgreSQL to free a killed task's locks
_FROM_ARCHIVE = ("rebuild", "--from-archive", "--engine", "tasks")


class EngineName(enum.StrEnum):
    """The engine of a rebuild from the archive: processes, tasks of a job, or Apache Beam."""

    LOCAL = "local"
    TASKS = "tasks"
    BEAM = "beam"


def rebuild_command(
    from_archive: Annotated[
        bool, typer.Option("--from-archive", help="Fold the archive's files, not the log.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="The engine of --from-archive: processes, tasks of a job, or Apache Beam."
        ),
    ] = EngineName.LOCAL,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="The number of database connections. With --from-archive, the number of processes "
            "or Dataflow machines.",
        ),
    ] = 2,
) -> None:
    """Build new projections next to the live projections, then replace the live projections."""
    # Cloud Run cancels an execution with SIGTERM. The signal raises KeyboardInterrupt, as Ctrl-C
    # does, so that the rebuild drops the second schema.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    connections.connect().close()  # without a database, fail before the progress bar appears
    if from_archive:
        _run_engine(engine, workers)
    else:
        _rebuild_from_log(workers)


def _run_engine(engine: EngineName, workers: int) -> None:
    """Rebuild from the archive; in a task of Cloud Run, do only the task's work."""
    current = settings.current()
    if engine == EngineName.LOCAL:
        _rebuild_from_archive(functools.partial(runners.run_processes, workers=workers))
    elif engine == EngineName.BEAM:
        if current.cloud_run_task_index:
            return  # Dataflow does the work; only the first task of Cloud Run watches it
        _rebuild_as_first_task(current, _choose_beam(current, workers))
    elif current.cloud_run_execution:
        _run_task(current, current.cloud_run_execution)
    else:
        _run_processes(workers)


def _rebuild_from_log(workers: int) -> None:
    console = Console()
    with terminal.progress_bar(console, "rebuilding", total=0) as show_progress:
        folded = rebuild.run(
            connections.connect,
            workers=workers,
            on_progress=show_progress,
            publisher=connections.change_publisher(),
        )
    _report(console, folded)


def _rebuild_from_archive(engine: Engine, execution: str = "") -> None:
    console, erased = Console(), connections.erased_digests()
    with terminal.progress_bar(console, "rebuilding", total=0) as show_progress:
        folded = archive_rebuild.run(
            connections.connect,
            _source(),
            engine,
            show_progress,
            connections.change_publisher(),
            erased=erased,
            execution=execution,
        )
    _report(console, folded)


def _choose_beam(current: Settings, workers: int) -> Engine:
    """Return an engine that runs Beam: on Dataflow if a template is set, else on this machine."""
    if not current.dataflow_template:
        beam.check_environment()
        return functools.partial(beam.run, workers=workers)
    from progress.recovery import beam_on_dataflow  # takes 330 ms

    beam_on_dataflow.check_settings(_source(), current)
    beam_on_dataflow.check_earlier_attempts(current)
    announce = functools.partial(Console().print, soft_wrap=True)
    return functools.partial(
        beam_on_dataflow.run, current=current, workers=workers, announce=announce
    )


def _report(console: Console, folded: int) -> None:
    console.print(f"{folded:,} events are folded into new projections, which are now live.")


def _source() -> Source:
    target = connections.database()
    url = target.database_url if isinstance(target, Settings) else target
    return Source(manifests.location(settings.current()), url)


def _run_task(current: Settings, execution: str) -> None:
    """Do the work of this process's task; the first task also begins and ends the rebuild."""
    index, count = current.cloud_run_task_index, current.cloud_run_task_count
    if index:
        runners.run_other_task(_source(), execution=execution, index=index, count=count)
    else:
        engine = functools.partial(runners.run_first_task, count=count)
        _rebuild_as_first_task(current, engine, execution)


def _rebuild_as_first_task(current: Settings, engine: Engine, execution: str = "") -> None:
    """Rebuild; a repeated task first waits until the locks of the killed attempt are free."""
    deadline = time.monotonic() + (_LOCK_TIMEOUT_S if current.cloud_run_task_attempt else 0)
    while True:
        try:
            return _rebuild_from_archive(engine, execution)
        except RebuildRunning:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_INTERVAL_S)


def _run_processes(count: int) -> None:
    """Run the tasks as processes of this machine; exit with 1 if the first task fails.

    Start a killed process again, as Cloud Run does with a killed task.
    """
    execution = uuid4().hex
    attempts = [0] * count
    tasks = [_start_task(execution, index, count, 0) for index in range(count)]
    try:
        while (exit_code := tasks[0].poll()) is None or _is_repeated(exit_code, attempts[0]):
            for index, task in enumerate(tasks):
                if _is_repeated(task.poll(), attempts[index]):
                    attempts[index] += 1
                    tasks[index] = _start_task(execution, index, count, attempts[index])
            time.sleep(_POLL_INTERVAL_S)
    finally:
        tasks[0].send_signal(signal.SIGINT)  # so that the first task drops the second schema
        for task in tasks[1:]:
            task.terminate()
        for task in tasks:
            task.wait()
    if exit_code:
        raise typer.Exit(1)


def _is_repeated(exit_code: int | None, attempt: int) -> bool:
    is_killed = exit_code is not None and exit_code < 0
    return is_killed and attempt + 1 < _ATTEMPTS


def _start_task(execution: str, index: int, count: int, attempt: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "progress.cli", *_FROM_ARCHIVE],
        env=settings.child_env(
            CLOUD_RUN_EXECUTION=execution,
            CLOUD_RUN_TASK_INDEX=str(index),
            CLOUD_RUN_TASK_COUNT=str(count),
            CLOUD_RUN_TASK_ATTEMPT=str(attempt),
        ),
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C reaches only the parent, which then ends all tasks
    )
