"""A process that serves a Cloud Run function, and a PostgreSQL server that a test can stop."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import DEVNULL, Popen

import psutil
import pytest

from progress.adapters.postgres import database, migrations
from progress.errors import StackError
from progress.local import processes, readiness
from tests.support import folders
from tests.support.postgres_servers import OwnServer

ROOT = Path(__file__).resolve().parents[2]
INGEST = ROOT / "functions/ingest/main.py"


class FunctionProcess:
    """A server process that serves one function on a free port."""

    def __init__(self, database_url: str, source: Path, target: str) -> None:
        self._source, self._target = source, target
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
            "PYTHONPATH": str(ROOT),
            "THREADS": "40",
        }
        self._process: Popen[bytes] | None = None

    def start(self) -> None:
        self._process = processes.start(
            [
                Path(sys.executable).with_name("functions-framework"),
                *("--source", self._source, "--target", self._target),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            output=DEVNULL,
            environment=self._environment,
        )
        subject = f"the {self._target} function"
        try:
            readiness.wait(lambda: self.post(b"", method="GET") == 200, subject, seconds=60)
        except StackError:
            self.kill()
            raise

    def peak_memory(self) -> int:
        """Return the peak memory of the server's master process and its workers, in bytes."""
        assert self._process is not None
        own = psutil.Process(self._process.pid)
        family = (own, *own.children(recursive=True))
        texts = [Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in family]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in texts)

    def kill(self) -> None:
        """Send SIGKILL to the server and its workers."""
        if self._process is not None:
            killed = processes.identify(self._process.pid)
            self._process.kill()
            self._process.wait()
            processes.kill_group(killed)
            self._process = None

    def post(self, body: bytes, *, method: str = "POST") -> int | None:
        """Send a request; return the response's status, or None if no response arrives."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            try:
                connection.request(method, "/", body, {"Content-Type": "application/json"})
                return connection.getresponse().status
            except (OSError, HTTPException):
                return None


@contextmanager
def run_function(
    database_url: str, *, source: Path = INGEST, target: str = "ingest"
) -> Iterator[FunctionProcess]:
    """Serve the function during the block; yield the server process."""
    process = FunctionProcess(database_url, source, target)
    process.start()
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def bare_server() -> Iterator[OwnServer]:
    """A running server with an empty database."""
    with folders.create("test") as folder:
        server = OwnServer(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_server(bare_server: OwnServer) -> OwnServer:
    """A running server with a migrated database."""
    with closing(database.connect(bare_server.url)) as connection:
        migrations.apply(connection)
    return bare_server
