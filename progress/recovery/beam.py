"""The engine `beam`: Apache Beam, in its own virtual environment, with any of its runners."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from progress import files, settings
from progress.adapters.telemetry import logs
from progress.errors import ProgressError
from progress.projections import replacement
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source

_PROGRAM = files.ROOT / "infra/beam/main.py"
_ENVIRONMENT = files.ROOT / ".venv-beam"

_ATTEMPTS = 3  # every attempt starts new processes
_POLL_INTERVAL_S = 0.5
_STEP = "[while running"


def is_installed() -> bool:
    return (_ENVIRONMENT / ".packages").exists()


def check_environment() -> None:
    """Raise ProgressError if Beam is not installed."""
    if not is_installed():
        raise ProgressError(
            "Apache Beam is not installed in .venv-beam: run `make beam` in the repository"
        )


def list_local_options(workers: int) -> list[str]:
    """Return the options of Beam's local runner, with `workers` processes."""
    return [
        "--runner=DirectRunner",
        "--direct_running_mode=multi_processing",
        # Without this option, the runner first downloads and tries Prism, a runner in Go.
        "--allow_unsafe_triggers",
        f"--direct_num_workers={workers}",
    ]


def run(
    source: Source, rebuild: Rebuild, on_loaded: Callable[[], None], *, options: Sequence[str]
) -> None:
    """Load every bucket with the runner that the options name, and wait until it has ended.

    If a process is killed, the pipeline starts again and loads the buckets that are left. Raise
    ProgressError if the pipeline fails, or if a process is killed in each of three attempts.
    """
    check_environment()
    reason = ""
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryFile() as errors:
            exit_code = _run_pipeline(source, rebuild, on_loaded, options, errors)
            if exit_code == 0:
                return
            reason = _read_reason(errors)
        if exit_code > 0:
            raise ProgressError(f"the Beam pipeline failed: {reason}")
        logs.write("WARNING", f"a process of the Beam pipeline was killed: {reason}")
    raise ProgressError(
        f"in each of {_ATTEMPTS} attempts, a process of the Beam pipeline was killed: {reason}"
    )


def _run_pipeline(
    source: Source,
    rebuild: Rebuild,
    on_loaded: Callable[[], None],
    options: Sequence[str],
    errors: BinaryIO,
) -> int:
    """Run the pipeline and return its exit code; the pipeline does not outlive this process."""
    pipeline = _start_pipeline(source, rebuild, options, errors)
    try:
        while pipeline.poll() is None:
            time.sleep(_POLL_INTERVAL_S)
            on_loaded()
    finally:
        if pipeline.poll() is None:
            os.killpg(pipeline.pid, signal.SIGKILL)
        if pipeline.stdin:
            pipeline.stdin.close()
        pipeline.wait()
    return pipeline.returncode


def _start_pipeline(
    source: Source, rebuild: Rebuild, options: Sequence[str], errors: BinaryIO
) -> "subprocess.Popen[bytes]":
    """Start the pipeline in a process group of its own."""
    # The URL may contain a password, which an argument would show to every user of the machine.
    database = {"DATABASE_URL": source.database} if source.database else {}
    return subprocess.Popen(
        [
            *(_ENVIRONMENT / "bin/python", _PROGRAM),
            *(f"--archive={source.archive}", f"--buckets={rebuild.buckets}"),
            *(f"--version={rebuild.version}", f"--schema={replacement.building_name()}"),
            *options,
        ],
        env=settings.child_env(PYTHONPATH=str(files.ROOT), **database),
        stdin=subprocess.PIPE,
        stdout=errors,
        stderr=errors,
        process_group=0,
    )


def _read_reason(errors: BinaryIO) -> str:
    """Return the last line in which Beam names an error and its step, or else the last line."""
    errors.seek(0)
    text = errors.read().decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _STEP in line]
    return (named or lines or ["it printed no reason"])[-1]
