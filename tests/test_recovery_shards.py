"""A stuck shard: who has it is named, and ended when that is asked for."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import commanding
import lessons
import pg8000.exceptions
import pytest
import rows
from conftest import Store
from operating import url_of
from stage import connect

from progress import batch, database, models, statements
from progress.database import Connection
from progress.errors import ProjectionError
from progress.local import readiness
from progress.projections import Projector
from progress.recovery import holders

pytestmark = pytest.mark.timeout(300)  # on a busy machine the commands take their time

BLOCKS = statements.blocks(str(Path(__file__).with_name("recovery")))


@pytest.fixture
def waiting(connection: Connection) -> Connection:
    """A store with learners, none of them folded."""
    lessons.teach(connection, "ann", "ben", "cyd", "dan")
    return connection


@pytest.fixture
def stuck(store: Store, waiting: Connection) -> Iterator[Connection]:
    """A session that took ann's shard, and neither folds nor goes."""
    made = database.connect(store.url, name="stuck")
    models.search(made)
    made.run("BEGIN")
    made.run(BLOCKS["hold a shard"], shard=rows.ask(waiting, "shard", user="ann"))
    yield made
    made._usock.close()


def test_the_session_that_holds_a_shard_is_named_and_ended(
    store: Store, waiting: Connection, stuck: Connection
) -> None:
    shard, pid = rows.ask(waiting, "shard", user="ann"), rows.ask(stuck, "pid")
    batch.run(waiting)
    assert waiting.run(BLOCKS["behind"]) == [[shard]]
    told = json.loads(commanding.done(commanding.progress(store.url, "shards", "list", "--json")))
    (held,) = (each for each in told if each["pid"])
    assert (held["shard"], held["pid"], held["application"]) == (shard, pid, "stuck")
    assert held["state"] == "idle in transaction"
    assert held["events_behind"] > 0
    # Who may not see another's session is told so, and may not end it.
    stranger = url_of(store, "project")
    (line,) = (
        line
        for line in commanding.done(commanding.progress(stranger, "shards", "list")).splitlines()
        if str(pid) in line
    )
    assert "not told" in line
    with (
        closing(database.connect(stranger)) as connection,
        pytest.raises(ProjectionError, match="grant the owner pg_signal_backend"),
    ):
        holders.release(connection, shard)

    ended = commanding.done(commanding.progress(store.url, "shards", "release", str(shard)))
    assert f"session {pid}" in ended
    with pytest.raises((pg8000.exceptions.Error, OSError)):
        stuck.run("SELECT 1")
    commanding.done(commanding.progress(store.url, "batch"))
    assert not lessons.wrong(waiting)
    commanding.failed(
        commanding.progress(store.url, "shards", "release", str(shard)), "nobody holds shard"
    )


def test_a_worker_that_waits_for_another_lives_and_the_other_is_ended(
    store: Store, waiting: Connection
) -> None:
    shard = rows.ask(waiting, "shard", user="ann")
    locker = database.connect(store.url, name="locker")
    models.search(locker)
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
        ended = commanding.done(commanding.progress(store.url, "shards", "release", str(shard)))
        assert "locker" in ended
        assert folding.result() > 0
    worker.close()
    locker._usock.close()
    batch.run(waiting)
    assert not lessons.wrong(waiting)
