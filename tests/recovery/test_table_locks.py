"""A command that only reads does not hang on a locked table: it says who blocks whom."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from progress.adapters.postgres import database, table_locks
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError
from progress.projections import schema
from progress.projections.projector import Projector
from progress.serve import readiness
from tests.conftest import Store
from tests.support import cli, model_rows, recovery_fixtures, sample_events

BLOCKS = recovery_fixtures.BLOCKS
ID = "00000000-0000-0000-0000-000000000000"
COMMANDS = (
    *("status", "check", "check --whole", "learners", "events", "events --user ann --limit 1"),
    *("shards list", "dead-letters list", "dead-letters count", "dead-letters show 1"),
    *("operations list", f"operations show {ID}", f"operations wait {ID}"),
    f"operations download {ID}",
)


@pytest.fixture
def locker(store: Store, connection: Connection) -> Iterator[Connection]:
    """A session that has locked the tables, and does not end."""
    sample_events.record_lessons(connection, "ann", lessons=1)
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
    store: Store, locker: Connection
) -> None:
    pid = model_rows.read_value(locker, "pid")
    with ThreadPoolExecutor(len(COMMANDS)) as pool:
        answers = pool.map(lambda command: cli.progress(store.url, *command.split()), COMMANDS)
        for answer in answers:
            expected = (f"session {pid} (postgres, locker, idle in transaction for", "has locked")
            cli.expect_failure(answer, *expected, "event_store.events", f"backend({pid})")


@pytest.mark.exhaustive
def test_a_deep_check_of_the_archive_names_it_too(
    store: Store, connection: Connection, tmp_path: Path
) -> None:
    folder = {"PROGRESS_DATA_DIR": str(tmp_path)}
    sample_events.record_lessons(connection, "ann", lessons=1)
    Projector(connection).catch_up_all()
    cli.expect_success(cli.progress(store.url, "archive", "--now", **folder))
    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.events")
    answer = cli.progress(store.url, "archive", "check", "--deep", **folder)
    cli.expect_failure(answer, "has locked event_store.events")
    connection.run("ROLLBACK")


def read_impatiently(connection: Connection) -> None:
    with table_locks.limit_waits(connection):
        connection.run("SET lock_timeout = '10ms'")
        connection.run("SELECT count(*) FROM event_store.events")


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
        readiness.wait(lambda: model_rows.read_value(connection, "waits", pid=pids[1]), "changer")
        with pytest.raises(ProgressError) as found:
            read_impatiently(connection)
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
