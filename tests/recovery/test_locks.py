"""The operator sees who holds a shard or a table that others wait for, and can end this session."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from progress.adapters.postgres import database, table_locks
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError, ProjectionError
from progress.projections import batch, schema
from progress.projections.projector import Projector
from progress.recovery import shard_locks
from tests.conftest import Store
from tests.support import archives, cli, model_rows, recovery_fixtures, sample_events
from tests.support.postgres_servers import url_of
from tests.support.stage import connect

BLOCKS = recovery_fixtures.BLOCKS


@pytest.fixture
def waiting(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, "ann", "ben", "cyd", "dan")
    return connection


@pytest.fixture
def stuck(store: Store, waiting: Connection) -> Iterator[Connection]:
    """A session that holds ann's shard but neither folds nor ends."""
    made = database.connect(store.url, name="stuck")
    schema.set_search_path(made)
    made.run("BEGIN")
    made.run(BLOCKS["hold a shard"], shard=model_rows.read_value(waiting, "shard", user="ann"))
    yield made
    made._usock.close()


def test_the_session_that_holds_a_shard_is_listed_and_ended(
    store: Store, waiting: Connection, stuck: Connection
) -> None:
    shard = model_rows.read_value(waiting, "shard", user="ann")
    pid = model_rows.read_value(stuck, "pid")
    batch.run(waiting)
    assert waiting.run(BLOCKS["behind"]) == [[shard]]
    shards = json.loads(cli.expect_success(cli.progress(store.url, "shards", "list", "--json")))
    (held,) = (shard for shard in shards if shard["pid"])
    assert (held["shard"], held["pid"], held["application"]) == (shard, pid, "stuck")
    assert held["state"] == "idle in transaction"
    assert held["events_behind"] > 0
    # A role without the privilege to see another session cannot end that session.
    stranger = url_of(store.url, "project")
    (line,) = (
        line
        for line in cli.expect_success(cli.progress(stranger, "shards", "list")).splitlines()
        if str(pid) in line
    )
    assert "hidden" in line
    with (
        closing(database.connect(stranger)) as connection,
        pytest.raises(ProjectionError, match="grant pg_signal_backend to the owner"),
    ):
        shard_locks.release(connection, shard)

    ended = cli.expect_success(cli.progress(store.url, "shards", "release", str(shard)))
    assert f"session {pid}" in ended
    with pytest.raises(database.ERRORS):
        stuck.run("SELECT 1")
    cli.expect_success(cli.progress(store.url, "batch"))
    assert not sample_events.find_differences(waiting)
    cli.expect_failure(
        cli.progress(store.url, "shards", "release", str(shard)), "nobody holds shard"
    )


def test_a_session_that_does_not_end_in_time_is_reported(
    waiting: Connection, stuck: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process of PostgreSQL does not handle the signal that would end its session."""
    monkeypatch.setattr(shard_locks, "_END_TIMEOUT_MS", 1)
    shard = model_rows.read_value(waiting, "shard", user="ann")
    process = psutil.Process(model_rows.read_value(stuck, "pid"))
    process.suspend()
    try:
        with pytest.raises(ProjectionError, match="has not ended yet"):
            shard_locks.release(waiting, shard)
    finally:
        process.resume()


def test_releasing_a_shard_ends_the_blocking_session_but_not_the_waiting_worker(
    store: Store, waiting: Connection
) -> None:
    shard = model_rows.read_value(waiting, "shard", user="ann")
    locker = database.connect(store.url, name="locker")
    schema.set_search_path(locker)
    locker.run("BEGIN")
    locker.run(BLOCKS["lock a table"])
    worker = connect(store.url)
    pid = model_rows.read_value(worker, "pid")
    with ThreadPoolExecutor(1) as pool:
        folding: Future[int] = pool.submit(Projector(worker).catch_up, shard)
        model_rows.wait_for_lock(waiting, pid, folding)
        ended = cli.expect_success(cli.progress(store.url, "shards", "release", str(shard)))
        assert "locker" in ended
        assert folding.result() > 0
    worker.close()
    locker._usock.close()
    batch.run(waiting)
    assert not sample_events.find_differences(waiting)


BLOCKS = recovery_fixtures.BLOCKS
ID = "00000000-0000-0000-0000-000000000000"
COMMANDS = (
    *("status", "check", "check --whole", "learners", "events", "events --user ann --limit 1"),
    *("shards list", "dead-letters list", "dead-letters count", "dead-letters show 1"),
    *("operations list", f"operations show {ID}", f"operations wait {ID}"),
    *(f"operations download {ID}", "archive check --deep"),
)


@pytest.fixture
def locker(store: Store, connection: Connection, tmp_path: Path) -> Iterator[Connection]:
    sample_events.record_lessons(connection, "ann", lessons=1)
    Projector(connection).catch_up_all()
    archives.run(connection, Folder(tmp_path / "archive"))
    with closing(database.connect(store.url, name="locker")) as made:
        schema.set_search_path(made)
        made.run("BEGIN")
        made.run(
            "LOCK TABLE event_store.events, event_store.dead_letters, operations.operations,"
            " user_progress IN ACCESS EXCLUSIVE MODE"
        )
        yield made


@pytest.mark.exhaustive
def test_each_command_that_reads_names_the_session_that_has_locked_a_table(
    store: Store, locker: Connection, tmp_path: Path
) -> None:
    pid = model_rows.read_value(locker, "pid")
    with ThreadPoolExecutor(len(COMMANDS)) as pool:
        answers = pool.map(
            lambda command: cli.progress(
                store.url, *command.split(), PROGRESS_DATA_DIR=str(tmp_path)
            ),
            COMMANDS,
        )
        for answer in answers:
            expected = (f"session {pid} (postgres, locker, idle in transaction for", "has locked")
            cli.expect_failure(answer, *expected, "event_store.events", f"backend({pid})")


def test_a_session_that_waits_for_a_lock_is_named_with_the_session_that_it_waits_for(
    store: Store, connection: Connection
) -> None:
    """The reader in front holds no lock that lets others wait; the session behind it does."""
    with (
        closing(database.connect(store.url, name="reader")) as reader,
        closing(database.connect(store.url, name="changer")) as changer,
        ThreadPoolExecutor(1) as pool,
    ):
        pids = [model_rows.read_value(each, "pid") for each in (reader, changer)]
        reader.run("BEGIN")
        reader.run("SELECT FROM event_store.events LIMIT 1")
        changing = pool.submit(changer.run, "BEGIN; LOCK TABLE event_store.events; ROLLBACK")
        model_rows.wait_for_lock(connection, pids[1], changing)
        with pytest.raises(ProgressError) as found, table_locks.limit_waits(connection):
            connection.run("SET lock_timeout = '10ms'; SELECT FROM event_store.events")
        reader.run("ROLLBACK")
        changing.result()
    assert re.search(
        rf"session {pids[0]} \(postgres, reader, .*blocks session {pids[1]}; "
        rf"session {pids[1]} \(postgres, changer, .*waits for session {pids[0]}, "
        rf"wants to lock event_store.events.*backend\({pids[0]}\)",
        str(found.value),
    )


def test_the_holder_of_a_shard_can_be_ended_while_the_log_is_locked(store: Store) -> None:
    shard, holder = 3, database.connect(store.url, name="holder")
    schema.set_search_path(holder)
    holder.run("BEGIN")
    holder.run(BLOCKS["hold a shard"], shard=shard)
    holder.run("LOCK TABLE event_store.events")
    ended = cli.expect_success(cli.progress(store.url, "shards", "release", str(shard)))
    assert "holder" in ended
    holder._usock.close()
