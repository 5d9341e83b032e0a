"""Run functions with functions-framework as in production: one process, eighty threads."""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from progress import settings
from progress.local import ports, processes, readiness
from progress.local.parts import FUNCTION_ENVIRONMENT, ROOT

_FOLDER = Path(__file__).resolve().parent
SOURCES = {
    "empty": _FOLDER / "empty" / "sync.py",
    "empty ASGI": _FOLDER / "empty" / "asynchronous.py",
} | {name: ROOT / "functions" / name / "main.py" for name in ("ingest", "project", "query")}


@dataclass(frozen=True)
class Function:
    """A running function."""

    port: int
    process: subprocess.Popen[bytes]

    def memory(self) -> float:
        """Return the memory of the function and of its supervising process, in MB."""
        own = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in (own, *own.children(recursive=True))) / 1e6

    def peak_memory(self) -> float:
        """Add up the peak memory of the function and of its supervising process, in MB."""
        own = psutil.Process(self.process.pid)
        own_processes = (own, *own.children(recursive=True))
        statuses = [
            Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in own_processes
        ]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in statuses) * 1_024 / 1e6

    def connections(self) -> int:
        """Return the number of open connections."""
        own = psutil.Process(self.process.pid)
        own_processes = (own, *own.children(recursive=True))
        return sum(
            c.status == "ESTABLISHED" for p in own_processes for c in p.net_connections("tcp")
        )


@contextlib.contextmanager
def start(name: str, **environment: str) -> Iterator[Function]:
    """Start the function without waiting until it accepts connections."""
    port = ports.reserve()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        # Google's buildpack compiles the code. Without cached bytecode, a start takes 35 % longer.
        bytecode = {"PYTHONDONTWRITEBYTECODE": ""}
        defaults = FUNCTION_ENVIRONMENT | {"XDG_RUNTIME_DIR": folder} | bytecode
        source = SOURCES[name]
        target = name.partition(" ")[0]
        options = ["--target", target, "--source", str(source), "--host", "127.0.0.1"]
        with log.open("wb") as output:
            process = processes.start(
                [sys.executable, "-m", "functions_framework", *options, "--port", str(port)],
                output=output,
                environment=settings.child_env(**defaults, **environment),
                folder=ROOT,
            )
        try:
            yield Function(port, process)
        finally:
            processes.end(process, by=signal.SIGTERM, seconds=10)


@contextlib.contextmanager
def run(name: str, **environment: str) -> Iterator[Function]:
    """Run the function. The block begins when the function accepts connections."""
    with start(name, **environment) as function:
        readiness.wait(lambda: ports.is_listening(function.port), name)
        yield function
