"""The processes of the system, each with its command and readiness check."""

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progress import files, settings
from progress.serve import data_folder, ports
from progress.serve.ports import HOST

Command = Sequence[str | Path]

# PYTHONPATH: functions-framework adds only the folder of the source file to the Python path.
# MALLOC_…: on two processors, glibc would create up to 16 memory arenas, and each arena keeps its
# freed memory, also that of large blocks.
FUNCTION_ENVIRONMENT = {
    "PYTHONPATH": str(files.ROOT),
    "THREADS": "80",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}


@dataclass(frozen=True)
class Part:
    """A process; `answers` returns whether the process is ready."""

    name: str
    command: Command
    answers: Callable[[], Awaitable[bool]]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = files.ROOT
    account: str | None = None
    stop: signal.Signals = signal.SIGTERM
    clear: Callable[[], None] | None = None  # Kills the children that survive the process.


def batch(environment: dict[str, str]) -> Part:
    command = [sys.executable, str(files.ROOT / "jobs" / "batch_aggregates" / "main.py")]
    days = {"FORMER_SCHEMA_DAYS": str(settings.current().former_schema_days or 1)}
    return Part("batch", command, _is_ready, days | environment | FUNCTION_ENVIRONMENT)


def dump(environment: dict[str, str]) -> Part:
    command = [sys.executable, "-m", "progress.cli", "dump", "--daily"]
    return Part("dump", command, _is_ready, environment | FUNCTION_ENVIRONMENT)


def function(name: str, port: int, environment: dict[str, str], *, host: str = HOST) -> Part:
    """Return the server of a function; it is ready once a GET returns 200."""
    ready = "/" if name == "project" else "/health"
    source = files.ROOT / "functions" / name / "main.py"
    run = Path(environment["PROGRESS_DATA_DIR"], "run", name)
    with data_folder.owner_only():  # gunicorn ignores XDG_RUNTIME_DIR if the folder is missing
        run.mkdir(parents=True, exist_ok=True)
    options = ["--target", name, "--source", str(source), "--host", host, "--port", str(port)]
    return Part(
        name,
        [sys.executable, "-m", "functions_framework", *options],
        lambda: _is_healthy(port, ready),
        # The folder of gunicorn's control socket; by default, all functions would share one socket.
        environment | FUNCTION_ENVIRONMENT | {"XDG_RUNTIME_DIR": str(run)},
    )


async def _is_ready() -> bool:
    return True


async def accepts(port: int) -> bool:
    return ports.is_listening(port)


async def _is_healthy(port: int, path: str) -> bool:
    return await ports.ask("GET", f"http://{HOST}:{port}{path}", timeout_s=2) == 200
