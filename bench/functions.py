"""Functions in functions-framework, as they are deployed: one process, eighty threads."""

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
from progress.local.parts import ROOT

_HERE = Path(__file__).resolve().parent
SOURCES = {
    "empty": _HERE / "empty" / "sync.py",
    "empty ASGI": _HERE / "empty" / "asynchronous.py",
} | {name: ROOT / "functions" / name / "main.py" for name in ("ingest", "project", "query")}


@dataclass(frozen=True)
class Function:
    """One that runs."""

    port: int
    process: subprocess.Popen[bytes]

    def memory(self) -> float:
        """Megabytes that it holds, with the process that watches over it."""
        own = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in (own, *own.children(recursive=True))) / 1e6

    def most_memory(self) -> float:
        """Megabytes that it held at the most, so far."""
        own = psutil.Process(self.process.pid)
        several = (own, *own.children(recursive=True))
        kept = [Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in several]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in kept) * 1_024 / 1e6

    def connections(self) -> int:
        """How many are open to it."""
        own = psutil.Process(self.process.pid)
        several = (own, *own.children(recursive=True))
        return sum(c.status == "ESTABLISHED" for p in several for c in p.net_connections("tcp"))


@contextlib.contextmanager
def started(name: str, **environment: str) -> Iterator[Function]:
    """The function, from the moment that its process is started: it may not answer yet."""
    port = ports.free()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        told = {"PYTHONPATH": str(ROOT), "THREADS": "80", "XDG_RUNTIME_DIR": folder}
        source = SOURCES[name]
        target = name.partition(" ")[0]
        options = ["--target", target, "--source", str(source), "--host", "127.0.0.1"]
        with log.open("wb") as output:
            process = processes.start(
                [sys.executable, "-m", "functions_framework", *options, "--port", str(port)],
                output=output,
                environment=settings.inherited(**told, **environment),
                folder=ROOT,
            )
        try:
            yield Function(port, process)
        finally:
            processes.end(process, by=signal.SIGTERM, seconds=10)


@contextlib.contextmanager
def running(name: str, **environment: str) -> Iterator[Function]:
    """The function, once it listens."""
    with started(name, **environment) as function:
        readiness.wait(lambda: ports.is_listening(function.port), name)
        yield function
