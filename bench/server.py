"""A PostgreSQL server with fsync on. Each benchmark creates its own databases."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.statements import blocks
from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.database import Connection
from progress.projections import schema
from progress.serve import processes
from progress.serve.laptop import postgres


@dataclass(frozen=True)
class Store:
    """A migrated database with the tables of the live read models."""

    name: str
    folder: Path

    @property
    def url(self) -> str:
        return postgres.url(self.folder, database=self.name)

    def connect(self) -> Connection:
        """Return a connection with the live read models in the search path."""
        connection = database.connect(self.url, name="bench")
        schema.set_search_path(connection)
        return connection

    def cpu_microseconds(self) -> float:
        """Return the CPU time of the database's open sessions."""
        with contextlib.closing(database.connect(self.url)) as connection:
            pids = connection.run(blocks("sessions")["sessions"])
        return sum(read_cpu_microseconds(pid) for (pid,) in pids)


def read_cpu_microseconds(pid: int) -> float:
    """Return the CPU time of a process of one thread, on Linux."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000


@dataclass
class Server:
    folder: Path
    pid: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create_store(self) -> Store:
        store = Store(f"bench_{next(self._numbers)}", self.folder)
        with contextlib.closing(database.connect(postgres.url(self.folder))) as connection:
            connection.run(f"CREATE DATABASE {store.name}")
        with contextlib.closing(database.connect(store.url)) as connection:
            migrations.apply(connection)
            schema.create(connection)
        return store

    def drop(self, store: Store) -> None:
        with contextlib.closing(database.connect(postgres.url(self.folder))) as connection:
            connection.run(f"DROP DATABASE {store.name} WITH (FORCE)")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server's processes, including those that have ended."""
        server = psutil.Process(self.pid)
        while True:
            before = server.cpu_times()
            ended = before.children_user + before.children_system
            with contextlib.suppress(psutil.NoSuchProcess):  # a process has ended: try again
                times = [p.cpu_times() for p in (server, *server.children(recursive=True))]
                after = server.cpu_times()
                if after.children_user + after.children_system == ended:
                    return float(ended + sum(t.user + t.system for t in times))


@contextlib.contextmanager
def run(*settings: str) -> Iterator[Server]:
    """Run the server inside the block, then remove its files. Its log is beside its folder."""
    folder = Path(tempfile.mkdtemp(prefix="progress-bench-"))
    data = folder / "postgres"
    postgres.prepare(data)
    process = postgres.start(data, folder / "log", *settings)
    try:
        yield Server(data, process.pid)
    finally:
        processes.end(process, by=postgres.STOP, seconds=20)
        shutil.rmtree(folder)
