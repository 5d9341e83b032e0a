"""A standby of the database is promoted after the primary was killed under load."""

import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError
from progress.projections import batch, schema
from progress.projections.projector import Projector
from progress.recovery import checks
from progress.serve import processes, readiness, system_account
from progress.serve.laptop import postgres as server
from tests.support import folders, model_rows, sample_events
from tests.support.postgres_servers import OwnServer
from tests.support.pushes import record_push
from tests.support.sample_events import Envelope

_WRITERS, _LESSONS = 3, 40  # lessons that are acknowledged before the next step
_DATABASE = "progress"


class _Servers:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.primary = OwnServer(folder / "primary")
        self.primary.start()
        with self._open(self.primary, "postgres") as connection:
            connection.run(f"CREATE DATABASE {_DATABASE}")
        with self.open_primary() as connection:
            migrations.apply(connection)
            schema.create(connection)
        self._copy()
        self.standby = OwnServer(folder / "standby")
        self.standby.start()

    def _copy(self) -> None:
        copy = self._folder / "standby" / "postgres"
        host = server.socket_folder(self._folder / "primary" / "postgres")
        subprocess.run(
            [
                *(server.programs() / "pg_basebackup", "--no-sync", "--checkpoint=fast"),
                *("--write-recovery-conf", "-D", copy),
                f"--dbname=host={host} user={server.SUPERUSER} application_name=standby",
            ],
            check=True,
        )
        (copy / ".s.PGSQL.5432.lock").unlink()  # the primary's
        if account := system_account.find():
            for path in (copy, *copy.rglob("*")):
                shutil.chown(path, account)

    def require_standby(self) -> None:
        with self._open(self.primary, "postgres") as connection:
            connection.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            connection.run("SELECT pg_reload_conf()")
            state = "SELECT sync_state FROM pg_stat_replication"
            readiness.wait(lambda: connection.run(state) == [["sync"]], "the standby")

    def suspend_replication(self) -> None:
        with self._open(self.primary, "postgres") as connection:
            ((sender,),) = connection.run("SELECT pid FROM pg_stat_replication")
        os.kill(sender, signal.SIGSTOP)

    def kill_primary(self) -> None:
        assert self.primary._process
        self.primary._process.kill()
        self.primary._process.wait()
        processes.kill_sessions(self._folder / "primary" / "postgres")

    def open_primary(self) -> AbstractContextManager[Connection]:
        return self._open(self.primary, _DATABASE)

    def open_standby(self) -> AbstractContextManager[Connection]:
        return self._open(self.standby, _DATABASE)

    @staticmethod
    @contextmanager
    def _open(running: OwnServer, name: str) -> Iterator[Connection]:
        connection = database.connect(running.url.replace("/postgres?", f"/{name}?"))
        try:
            yield connection
        finally:
            database.close(connection, timeout_s=1)  # the server may be gone


class _Load:
    """Threads that append lessons, and one that folds them, until the database is gone."""

    def __init__(self, servers: _Servers) -> None:
        self._servers = servers
        self.sent: list[list[Envelope]] = []
        self.acknowledged: list[list[Envelope]] = []
        self._threads = [
            *(threading.Thread(target=self._write, args=(n,)) for n in range(_WRITERS)),
            threading.Thread(target=self._fold),
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        with self._servers.open_primary() as connection:
            for day in itertools.count():
                lesson = sample_events.lesson(f"learner-{number}", day)
                self.sent.append(lesson)
                try:
                    append(connection, lesson)
                except ProgressError:
                    return
                self.acknowledged.append(lesson)

    def _fold(self) -> None:
        with self._servers.open_primary() as connection:
            try:
                while True:
                    Projector(connection).catch_up_all()
            except ProgressError:
                return

    def wait_for(self, more: int) -> None:
        enough = len(self.acknowledged) + more
        readiness.wait(lambda: len(self.acknowledged) >= enough, f"{more} lessons")

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def append(connection: Connection, lesson: list[Envelope]) -> int:
    """Append the events as one pushed message; return how many are new."""
    appended = record_push(connection, lesson, publish_time="2024-01-01T00:00:00Z")
    return appended.outcomes.get("appended", 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("replication", ["synchronous", "asynchronous"])
def test_a_promoted_standby_has_what_it_claims_and_redelivery_restores_the_rest(
    replication: str,
) -> None:
    with folders.create("standby") as folder:
        servers = _Servers(folder)
        if replication == "synchronous":
            servers.require_standby()
        load = _Load(servers)
        load.wait_for(_LESSONS)
        if replication == "asynchronous":
            servers.suspend_replication()
            load.wait_for(_LESSONS)
        servers.kill_primary()
        load.join()
        with servers.open_standby() as connection:
            assert connection.run("SELECT pg_promote(wait_seconds => 60)") == [[True]]
            schema.set_search_path(connection)
            present = {f"{event.event_id}" for event in model_rows.read_events(connection)}
            acknowledged = {e["event_id"] for lesson in load.acknowledged for e in lesson}
            missing = acknowledged - present
            assert bool(missing) == (replication == "asynchronous")
            # The read models claim no event that the log has lost, and no position is missing.
            report = checks.run(connection)
            assert not report.findings
            assert report.head == report.events == len(present)
            # Pub/Sub keeps the messages of seven days. Delivered again, they say what was lost.
            new = sum(append(connection, lesson) for lesson in load.sent)
            assert new == len({e["event_id"] for lesson in load.sent for e in lesson} - present)
            assert new >= len(missing)
            Projector(connection).catch_up_all()
            batch.run(connection)
            assert not checks.run(connection).findings
            assert not sample_events.find_differences(connection)
        servers.standby.stop()
