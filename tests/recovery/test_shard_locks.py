"""The operator can list and end the session that holds a stuck shard."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError
from progress.projections import batch, schema
from progress.projections.projector import Projector
from progress.recovery import shard_locks
from progress.serve import readiness
from tests.conftest import Store
from tests.support import cli, model_rows, recovery_fixtures, sample_events
from tests.support.postgres_servers import url_of
from tests.support.stage import connect

BLOCKS = recovery_fixtures.BLOCKS


@pytest.fixture
def waiting(connection: Connection) -> Connection:
    """A store with learners whose events are not folded."""
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
    shard, pid = (
        model_rows.read_value(waiting, "shard", user="ann"),
        model_rows.read_value(stuck, "pid"),
    )
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
    with ThreadPoolExecutor(1) as pool:
        folding: Future[int] = pool.submit(Projector(worker).catch_up, shard)
        readiness.wait(
            lambda: bool(waiting.run(BLOCKS["waits"], application="stage")[0][0]),
            "the worker",
            seconds=90,
        )
        ended = cli.expect_success(cli.progress(store.url, "shards", "release", str(shard)))
        assert "locker" in ended
        assert folding.result() > 0
    worker.close()
    locker._usock.close()
    batch.run(waiting)
    assert not sample_events.find_differences(waiting)
