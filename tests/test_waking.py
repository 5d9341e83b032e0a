"""Wake-ups, carried out by connections that are kept between them."""

import queue
from collections.abc import Iterator

import lessons
import pytest
import rows
from conftest import Store
from stage import append, connect

from progress import settings, waking
from progress.database import Connection
from progress.errors import Unavailable
from progress.projections import SHARDS


@pytest.fixture
def connection(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Where the wake-ups of this process go to, too."""
    monkeypatch.setenv("DATABASE_URL", store.url)
    monkeypatch.setattr(waking, "_idle", queue.LifoQueue())
    settings.current.cache_clear()
    made = connect(store.url)
    yield made
    made.close()
    settings.current.cache_clear()
    while not waking._idle.empty():
        waking._idle.get().close()


def test_what_broke_while_it_was_idle_costs_no_wake_up(connection: Connection) -> None:
    waking.wake(0)
    append(connection, lessons.lesson("u", 0))
    idle = waking._idle.get_nowait()
    (pid,) = idle.connection.run(rows.questions()["pid"])[0]
    waking._idle.put(idle)
    rows.ask(connection, "terminate", pid=pid)
    while rows.ask(connection, "lives", pid=pid):
        pass
    assert sum(waking.wake(shard) for shard in SHARDS) > 0
    assert rows.ask(connection, "answered") == 3


def test_a_database_that_is_away_is_told(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@/nothing?host=/nowhere")
    settings.current.cache_clear()
    with pytest.raises(Unavailable):
        waking.wake(0)
