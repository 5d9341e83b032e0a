"""`progress rebuild`: rebuild the read models from the log or from the archive."""

import enum
import functools
import signal
import time
from typing import Annotated

import typer

from progress import settings
from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.archive import catalogue
from progress.cli import connections
from progress.errors import RebuildRunning
from progress.projections import rebuild
from progress.recovery import archive_rebuild, beam, rebuild_processes
from progress.recovery.archive_rebuild import Engine, Source
from progress.settings import Settings

_POLL_INTERVAL_S = 0.1
_LOCK_TIMEOUT_S = 60.0  # the wait for PostgreSQL to free a killed attempt's locks


class EngineName(enum.StrEnum):
    LOCAL = "local"
    BEAM = "beam"


def rebuild_command(
    from_archive: Annotated[
        bool, typer.Option("--from-archive", help="Fold the archive's files, not the log.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="The engine of --from-archive: processes of this machine, or Apache Beam."
        ),
    ] = EngineName.LOCAL,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="The number of database connections; with --from-archive, of processes.",
        ),
    ] = 2,
    runner_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- OPTIONS]",
            help="With --engine beam: the options of another runner than the one of this machine.",
        ),
    ] = None,
) -> None:
    """Build new projections next to the live projections, then replace the live projections."""
    # Cloud Run cancels an execution with SIGTERM. The signal raises KeyboardInterrupt, as Ctrl-C
    # does, so that the rebuild drops the second schema.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    connections.connect().close()  # without a database, fail before the progress bar appears
    current = settings.current()
    if runner_options and (engine != EngineName.BEAM or not from_archive):
        raise typer.BadParameter("options of a runner need --from-archive --engine beam")
    if not from_archive:
        with terminal.progress_bar(Console(), "rebuilding", total=0) as show_progress:
            folded = rebuild.run(connections.connect, workers=workers, on_progress=show_progress)
        _report(folded)
    elif engine == EngineName.LOCAL:
        run = functools.partial(rebuild_processes.run_processes, workers=workers)
        _rebuild_from_archive(current, run)
    else:
        beam.check_environment()
        options = runner_options or beam.list_local_options(workers)
        _rebuild_from_archive(current, functools.partial(beam.run, options=options))


def _rebuild_from_archive(current: Settings, engine: Engine) -> None:
    """Rebuild; a repeated task of Cloud Run first waits for the locks of the killed attempt."""
    erased, target = connections.erased_digests(), connections.target().database()
    url = target.database_url if isinstance(target, Settings) else target
    source = Source(catalogue.location(current), url)
    deadline = time.monotonic() + (_LOCK_TIMEOUT_S if current.cloud_run_task_attempt else 0)
    while True:
        try:
            with terminal.progress_bar(Console(), "rebuilding", total=0) as show_progress:
                folded = archive_rebuild.run(
                    connections.connect, source, engine, show_progress, erased=erased
                )
            return _report(folded)
        except RebuildRunning:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_INTERVAL_S)


def _report(folded: int) -> None:
    Console().print(f"{folded:,} events are folded into new projections, which are now live.")
