"""A PostgreSQL server of the benchmark's own, fsync on, with a database for each row."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.local import postgres, processes, readiness
from progress.projections import schema


@dataclass(frozen=True)
class Store:
    """A database, migrated, with the live read models' tables."""

    name: str
    folder: Path

    @property
    def url(self) -> str:
        """Its `DATABASE_URL`."""
        return postgres.url(self.folder, database=self.name)

    @property
    def host(self) -> str:
        """The folder of the server's socket."""
        return str(postgres.socket_folder(self.folder))

    def connect(self) -> Connection:
        """A connection that finds the read models."""
        connection = database.connect(self.url, name="bench")
        schema.set_search_path(connection)
        return connection


@dataclass
class Server:
    """The server: it makes databases."""

    folder: Path
    pid: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def store(self) -> Store:
        """A new database."""
        store = Store(f"bench_{next(self._numbers)}", self.folder)
        connection = database.connect(postgres.url(self.folder))
        connection.run(f"CREATE DATABASE {store.name}")
        connection.close()
        with contextlib.closing(database.connect(store.url)) as connection:
            migrations.apply(connection)
            schema.create(connection)
        return store

    def drop(self, store: Store) -> None:
        """Remove a database that is done with."""
        with contextlib.closing(database.connect(postgres.url(self.folder))) as connection:
            connection.run(f"DROP DATABASE {store.name} WITH (FORCE)")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """The server, until the block ends; its files go with it."""
    folder = Path(tempfile.mkdtemp(prefix="progress-bench-"))
    data = folder / "postgres"
    postgres.prepare(data)
    with (folder / "log").open("wb") as output:
        process = processes.start(
            postgres.command(data),
            output=output,
            folder=data,
            account=postgres.account(),
            at_parent_death=postgres.STOP,
        )
    try:
        readiness.wait(lambda: _answers(data), "PostgreSQL")
        yield Server(data, process.pid)
    finally:
        processes.end(process, by=postgres.STOP, seconds=20)
        shutil.rmtree(folder)


def _answers(data: Path) -> bool:
    try:
        database.connect(postgres.url(data)).close()
    except Unavailable:
        return False
    return True
