"""The wake-up worker keeps its connections between wake-ups."""

import queue
from collections.abc import Iterator

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.projections import projector
from progress.projections.projector import SHARDS
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect


@pytest.fixture
def connection(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection to the database in which the worker folds."""
    monkeypatch.setenv("DATABASE_URL", store.url)
    monkeypatch.setattr(projector, "_idle", queue.LifoQueue())
    settings.current.cache_clear()
    made = connect(store.url)
    yield made
    made.close()
    settings.current.cache_clear()
    while not projector._idle.empty():
        projector._idle.get().close()


def test_a_connection_that_broke_while_idle_is_replaced(connection: Connection) -> None:
    projector.wake(0)
    append(connection, sample_events.lesson("u", 0))
    idle = projector._idle.get_nowait()
    (pid,) = idle.connection.run(model_rows.blocks()["pid"])[0]
    projector._idle.put(idle)
    model_rows.read_value(connection, "terminate", pid=pid)
    while model_rows.read_value(connection, "lives", pid=pid):
        pass
    assert sum(projector.wake(shard) for shard in SHARDS) > 0
    assert model_rows.read_value(connection, "answered") == 3


def test_a_wake_up_raises_database_unavailable_if_the_database_does_not_respond(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@/nothing?host=/nowhere")
    settings.current.cache_clear()
    with pytest.raises(DatabaseUnavailable):
        projector.wake(0)
