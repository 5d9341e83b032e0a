"""After a reader has read up to a position, no event appears at or below that position."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.event_store.log import Delivery, PostgresEventStore
from progress.ingest import push
from tests.conftest import Store
from tests.support import model_rows
from tests.support.envelopes import session_abandoned
from tests.support.pushes import encode_push

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def connect(store: Store) -> Iterator[Callable[[], Connection]]:
    made: list[Connection] = []

    def open_one() -> Connection:
        made.append(store.connect())
        return made[-1]

    yield open_one
    for connection in made:
        connection.close()


def events(count: int, learner: str) -> Delivery:
    return push.parse_delivery(encode_push([session_abandoned(learner) for _ in range(count)]))


def positions(connection: Connection, after: int = 0) -> list[int]:
    rows = connection.run(
        "SELECT global_position FROM event_store.events WHERE global_position > :after "
        "ORDER BY global_position",
        after=after,
    )
    return [row[0] for row in rows]


def test_no_append_overtakes_an_append_whose_transaction_is_open(
    connect: Callable[[], Connection],
) -> None:
    """Report JasperFx/marten#3321: a projection skipped an event that committed late."""
    slow, fast, reader = connect(), connect(), connect()
    fast_pid = fast.run("SELECT pg_backend_pid()")[0][0]
    slow.run("BEGIN")
    log.append(slow, [events(2, "slow")])
    with ThreadPoolExecutor() as pool:
        overtaking = pool.submit(log.append, fast, [events(1, "fast")])
        try:
            model_rows.wait_for_lock(reader, fast_pid, overtaking)
            assert positions(reader) == []
        finally:
            slow.run("COMMIT")
        overtaking.result()
    streams = [event.stream_id for event in PostgresEventStore(reader).read_all_events(1, 10)]
    assert streams == ["learner-slow", "learner-slow", "learner-fast"]


def test_an_append_that_is_rolled_back_leaves_no_gap_in_the_positions(
    connect: Callable[[], Connection],
) -> None:
    first, second = connect(), connect()
    first.run("BEGIN")
    log.append(first, [events(3, "a")])
    first.run("ROLLBACK")
    log.append(second, [events(2, "b")])
    assert positions(second) == [1, 2]


def test_a_hanging_transaction_that_appends_nothing_does_not_block_appends_or_reads(
    connect: Callable[[], Connection],
) -> None:
    hung, writer, reader = connect(), connect(), connect()
    hung.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    hung.run("INSERT INTO event_store.poisoned (global_position, error) VALUES (99, 'hung')")
    assert positions(hung) == []
    log.append(writer, [events(2, "a")])
    assert positions(reader) == [1, 2]
    hung.run("ROLLBACK")
