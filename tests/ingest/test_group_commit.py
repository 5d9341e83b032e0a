"""Requests that share transactions: none waits for ever, none fails for another."""

import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import datetime

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable, EventStoreError, InstanceUnavailable
from progress.event_store.envelope import Arrival, Message
from progress.event_store.log import Delivery
from progress.event_store.timestamps import EARLIEST
from progress.ingest import push
from progress.ingest.group_commit import GroupCommit
from tests.conftest import Store
from tests.support.postgres_wire import Wire, wire
from tests.support.pushes import encode_push

__all__ = ["wire"]

SHARD = 11  # of learner-u


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as running:
        yield running


def delivery() -> Delivery:
    return push.parse_delivery(
        encode_push(
            {
                "event_id": str(uuid.uuid4()),
                "event_type": "SessionAbandoned",
                "occurred_at": "2024-03-01T00:00:00Z",
                "data": {"session_id": "s"},
                "metadata": {"user_id": "u"},
            }
        )
    )


def deliveries(count: int) -> list[Delivery]:
    return [delivery() for _ in range(count)]


def bad() -> Delivery:
    """What the door would never let through: the database refuses the whole batch."""
    arrival = Arrival(
        index=0, event_id="no uuid", event_type="x", occurred_at=EARLIEST, data={}, metadata={}
    )
    return Delivery(Message(message_id="bad"), [arrival])


def transactions(store: Store) -> list[int]:
    """How many events each transaction appended."""
    with closing(store.connect()) as connection:
        rows = connection.run(
            "SELECT count(*) FROM event_store.events GROUP BY xmin ORDER BY min(global_position)"
        )
    return [row[0] for row in rows]


class Gate:
    """Connects when it is opened; raises what it was given to raise."""

    def __init__(self, store: Store) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.faults: list[Exception] = []
        self._store = store

    def __call__(self) -> Connection:
        self.reached.set()
        self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        return self._store.connect()


def queued(
    group: GroupCommit, gate: Gate, pool: ThreadPoolExecutor, *others: Delivery
) -> list[Future[datetime]]:
    """A leader at the gate and the others behind it; then the gate opens."""
    first = pool.submit(group.take, delivery())
    gate.reached.wait()
    rest = [pool.submit(group.take, other) for other in others]
    while len(group._queue) < len(others):
        pass
    gate.open.set()
    done, _ = wait([first, *rest], timeout=30)
    assert len(done) == 1 + len(others), "somebody hangs"
    return [first, *rest]


def test_who_waits_goes_along_with_the_next(store: Store, pool: ThreadPoolExecutor) -> None:
    gate = Gate(store)
    woken = list[list[int]]()
    for each in queued(GroupCommit(gate, woken.append), gate, pool, *deliveries(20)):
        each.result()
    assert transactions(store) == [1, 20]
    assert woken == [[SHARD], [SHARD]]  # for each transaction, not for each request


def test_one_that_is_refused_does_not_fail_the_others(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    gate = Gate(store)
    _, one, refused, other = queued(
        GroupCommit(gate, list), gate, pool, delivery(), bad(), delivery()
    )
    with pytest.raises(EventStoreError):
        refused.result()
    assert [one.exception(), other.exception()] == [None, None]
    assert sum(transactions(store)) == 3


def test_a_leader_that_dies_leaves_nobody_waiting(store: Store, pool: ThreadPoolExecutor) -> None:
    gate = Gate(store)
    gate.faults = [RuntimeError("first"), RuntimeError("second")]
    group = GroupCommit(gate, list)
    results = queued(group, gate, pool, delivery(), delivery(), delivery())
    faults = [type(result.exception()) for result in results]
    assert faults.count(RuntimeError) == 2
    assert faults.count(InstanceUnavailable) == 2
    group.take(delivery())
    assert transactions(store) == [1]


def test_a_database_that_is_away_is_told_to_all(store: Store, pool: ThreadPoolExecutor) -> None:
    gate = Gate(store)
    gate.faults = [DatabaseUnavailable("away")] * 4
    results = queued(GroupCommit(gate, list), gate, pool, delivery(), delivery())
    assert [type(result.exception()) for result in results] == [DatabaseUnavailable] * 3


def test_a_connection_that_broke_is_opened_again(store: Store) -> None:
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(store.connect())
        return connections[-1]

    group = GroupCommit(connect, list)
    group.take(delivery())
    with closing(store.connect()) as other:
        other.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    group.take(delivery())
    assert (len(connections), transactions(store)) == (2, [1, 1])


def test_an_answer_that_was_lost_after_the_commit_appends_nothing_twice(
    store: Store, wire: Wire
) -> None:
    group = GroupCommit(lambda: database.connect(wire.url), list)
    group.take(delivery())
    wire.answers_to_lose = 1
    group.take(delivery())
    assert transactions(store) == [1, 1]


def test_a_leader_that_is_refused_wakes_the_shards_of_its_followers(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    gate, woken = Gate(store), list[list[int]]()
    group = GroupCommit(gate, woken.append)
    _, refused, other = queued(group, gate, pool, bad(), delivery())
    assert isinstance(refused.exception(), EventStoreError)
    assert other.exception() is None
    assert woken == [[SHARD], [SHARD]]


def test_nobody_is_acknowledged_whose_shard_was_not_woken(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    gate, calls = Gate(store), itertools.count()

    def wake(_: list[int]) -> None:
        if next(calls):
            raise RuntimeError("no wake-up")

    first, leader, *followers = queued(GroupCommit(gate, wake), gate, pool, *deliveries(4))
    assert first.exception() is None
    assert isinstance(leader.exception(), RuntimeError)
    assert [type(each.exception()) for each in followers] == [InstanceUnavailable] * 3
    assert transactions(store) == [1, 4]
