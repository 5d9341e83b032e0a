"""PostgreSQL servers on which tests create their databases."""

import itertools
import os
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest

from progress.adapters.postgres import database, migrations, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.url import parse_url
from progress.projections import batch, schema
from progress.serve import processes, system_account
from progress.serve.laptop import postgres as server
from tests.support import folders, sample_events, stage

EMBEDDED, OLDEST = "embedded", "postgresql-15"
OLDEST_PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@dataclass
class Server:
    url: str
    which: str = EMBEDDED
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _templates: dict[tuple[str, ...], str] = field(default_factory=dict)
    _connection: Connection | None = None
    _unused: deque[str] = field(default_factory=deque)

    def examples(self, times: int) -> hypothesis.settings:
        """Return settings with the profile's number of examples, multiplied by `times`.

        For PostgreSQL 15, the number is a third of the profile's number, whatever `times` is. The
        embedded server runs the same SQL with more examples. Few examples therefore suffice to find
        a statement that behaves differently on PostgreSQL 15.
        """
        usual: int = hypothesis.settings().max_examples
        return hypothesis.settings(
            max_examples=times * usual if self.which == EMBEDDED else usual // 3
        )

    def create_database(self, *learners: str) -> str:
        if learners not in self._templates:
            self._templates[learners] = self._create_template(*learners)
        # The default strategy takes twice as long: it writes each page to the write-ahead log.
        name = self.create_bare_database(f"TEMPLATE {self._templates[learners]} STRATEGY FILE_COPY")
        # The privileges on the database itself are not copied from the template.
        self._run(f"GRANT CREATE ON DATABASE {name} TO progress_project")
        self._run(f"GRANT TEMPORARY ON DATABASE {name} TO progress_query")
        return name

    def _create_template(self, *learners: str) -> str:
        name = self.create_database() if learners else self.create_bare_database("")
        with closing(stage.connect(self.sibling(name))) as connection:
            if learners:
                sample_events.record_lessons(connection, *learners)
                batch.run(connection)
            else:
                migrations.apply(connection)
                schema.create(connection)
                self._create_users()
        return name

    @contextmanager
    def open_database(self) -> Iterator[str]:
        name = self.create_database()
        yield self.sibling(name)
        self.drop(name)

    def drop(self, name: str) -> None:
        """Drop the database when the next one is dropped, or when this server is closed.

        PostgreSQL would wait 0.1 s for a session that has closed only now.
        """
        self._unused.append(name)
        if len(self._unused) > 1:
            self._drop_oldest()

    def close(self) -> None:
        """Close the connection; drop the databases, because the server may outlive the tests."""
        self._unused.extend(self._templates.values())
        while self._unused:
            self._drop_oldest()
        if self._connection:
            self._connection.close()

    def _drop_oldest(self) -> None:
        self._run(f"DROP DATABASE {self._unused.popleft()} WITH (FORCE)")

    def sibling(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _create_users(self) -> None:
        # Users belong to the whole server, so that another process may create them, too.
        self._run("SELECT pg_advisory_lock(0)")
        self._run(statements.blocks(str(Path(__file__).with_suffix("")))["create users"])
        self._run("SELECT pg_advisory_unlock(0)")

    def create_bare_database(self, options: str) -> str:
        name = f"progress_test_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} {options}")
        return name

    def _run(self, statement: str) -> None:
        self._connection = self._connection or database.connect(self.url, name="tests")
        self._connection.run(statement)


def url_of(url: str, function: str, *, of_system: bool = False) -> str:
    """Return a URL of the database; its user has the privileges of `function`.

    The logins of a system that runs are named after its database.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = f"progress_{function}_{parts.path[1:]}" if of_system else f"local_{function}"
    return parts._replace(netloc=f"{name}@{host}").geturl()


def connect_plainly(url: str) -> Connection:
    """Connect like another program: the session has the defaults of its database and role."""
    return database._open_directly(parse_url(url), "another")


@contextmanager
def start(programs: Path | None) -> Iterator[str]:
    with folders.create("test") as folder, run_in(folder, programs) as url:
        yield url


class OwnServer:
    """A server that only one test uses, in `folder`; `None` stands for the embedded programs."""

    def __init__(
        self, folder: Path, programs: Path | None = None, *, admits: str | None = None
    ) -> None:
        self.data = folder / "postgres"
        self.log = folder / "log"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self.url = server.url(self.data)
        server.prepare(self.data, programs)
        if admits is not None:
            (self.data / "pg_hba.conf").write_text(admits)

    def start(self, *options: str, port: int = 5432) -> None:
        self._process = server.start(
            self.data, self.log, *options, bin_folder=self._programs, port=port
        )

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process, by=server.STOP, seconds=20)
            self._process = None

    def upgrade_from(self, old: "OwnServer") -> None:
        """Take the files of another server, which has stopped, with pg_upgrade."""
        program = server.programs() / "pg_upgrade"
        names = ["--link", "--no-sync", f"--username={server.SUPERUSER}"]
        names += [f"--old-bindir={old._programs}", f"--old-datadir={old.data}"]
        names += [f"--new-bindir={program.parent}", f"--new-datadir={self.data}"]
        account = system_account.find()
        with self.log.open("ab") as output:
            process = processes.start(
                [program, *names], output=output, folder=self.data, account=account
            )
        assert process.wait() == 0, self.log.read_text()


@contextmanager
def run_in(folder: Path, programs: Path | None = None) -> Iterator[str]:
    running = OwnServer(folder, programs)
    # Faster: only test data are lost if the machine crashes, and databases come and go, for
    # which the server scans its buffers, and after which it would log whole pages, and visit them.
    fast = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "autovacuum=off")
    running.start(*fast)
    yield running.url
    running.stop()


class Machine:
    """A server with two owners of databases; `progress` may create roles, `other` may not."""

    def __init__(self, folder: Path, programs: Path | None) -> None:
        self.programs, self.folder = programs, folder
        self.server = OwnServer(folder, programs)
        self.server.start("fsync=off")
        with closing(self.connect("postgres", "postgres")) as admin:
            admin.execute_simple("CREATE ROLE progress LOGIN CREATEROLE; CREATE ROLE other LOGIN")

    def url(self, name: str, user: str = "progress") -> str:
        return self.server.url.replace("postgres@/postgres", f"{user}@/{name}")

    def connect(self, name: str, user: str = "progress") -> Connection:
        return database.connect(self.url(name, user))

    def run(self, program: str, user: str, *arguments: str | Path) -> None:
        """Run pg_dump or pg_restore, and go on after its errors, as a restorer would."""
        path = (self.programs or server.programs()) / program
        at = ("--host", self.server.data, "--username", user)
        subprocess.run([path, *at, *arguments], check=False, capture_output=True)

    def create(self, name: str, owner: str = "progress") -> str:
        with closing(self.connect("postgres", "postgres")) as admin:
            admin.run(f"CREATE DATABASE {name} OWNER {owner}")
        return f"--dbname={name}"


@contextmanager
def start_machine(programs: Path | None) -> Iterator[Machine]:
    with folders.create("test") as folder:
        machine = Machine(folder, programs)
        yield machine
        machine.server.stop()


@pytest.fixture
def bare_server() -> Iterator[OwnServer]:
    with folders.create("test") as folder:
        server = OwnServer(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_server(bare_server: OwnServer) -> OwnServer:
    with closing(database.connect(bare_server.url)) as connection:
        migrations.apply(connection)
    return bare_server
