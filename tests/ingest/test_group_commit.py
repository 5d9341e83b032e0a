"""In a group commit, no request waits forever, and no request fails because another one fails."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable, Unavailable
from progress.event_store.log import Delivery
from progress.ingest import push
from progress.ingest.group_commit import Committed, GroupCommit
from progress.serve import readiness
from tests.adapters.test_timeouts import silent
from tests.conftest import Store
from tests.support.envelopes import session_abandoned
from tests.support.postgres_wire import Wire
from tests.support.pushes import encode_push

__all__ = ["silent"]

SHARD = 11  # the shard of the stream learner-u


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as running:
        yield running


def delivery() -> Delivery:
    return push.parse_delivery(encode_push(session_abandoned()))


def ignore(_: list[int], _delay_ms: int) -> None:
    """Send no wake-ups."""


def transactions(store: Store) -> list[int]:
    with closing(store.connect()) as connection:
        rows = connection.run(
            "SELECT count(*) FROM event_store.events GROUP BY xmin ORDER BY min(global_position)"
        )
    return [row[0] for row in rows]


def end_other_sessions(store: Store) -> None:
    with closing(store.connect()) as own:
        own.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class Gate:
    def __init__(self, store: Store) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self._store = store

    def __call__(self) -> Connection:
        self.reached.set()
        self.open.wait()
        return self._store.connect()


@pytest.fixture
def gate(store: Store) -> Iterator[Gate]:
    made = Gate(store)
    yield made
    made.open.set()


def await_queue(group: GroupCommit, length: int) -> None:
    readiness.wait(lambda: len(group._queue) >= length, "the queue")


def run_behind_gate(
    group: GroupCommit, gate: Gate, pool: ThreadPoolExecutor, *others: Delivery
) -> list[Future[Committed]]:
    first = pool.submit(group.append, delivery())
    gate.reached.wait()
    rest = [pool.submit(group.append, other) for other in others]
    await_queue(group, len(others))
    gate.open.set()
    done, _ = wait([first, *rest], timeout=30)
    assert len(done) == 1 + len(others), "a request hangs"
    return [first, *rest]


def test_the_next_leader_commits_all_waiting_requests_in_one_transaction(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    woken = list[list[int]]()
    group = GroupCommit(gate, lambda shards, _: woken.append(shards))
    for call in run_behind_gate(group, gate, pool, *(delivery() for _ in range(20))):
        call.result()
    assert transactions(store) == [1, 20]
    assert woken == [[SHARD], [SHARD]]  # once per transaction, not per request


def test_the_delay_is_not_negative_if_the_clock_of_the_publisher_is_ahead(store: Store) -> None:
    delays = []
    with closing(store.connect()) as connection:
        group = GroupCommit(lambda: connection, lambda _, delay_ms: delays.append(delay_ms))
        body = encode_push(session_abandoned(), publish_time="2999-01-01T00:00:00Z")
        group.append(push.parse_delivery(body))
    assert delays == [0]


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_connection_that_is_broken_or_has_become_read_only_is_replaced(
    store: Store, *, is_broken: bool
) -> None:
    connections = []

    def connect() -> Connection:
        connections.append(store.connect())
        return connections[-1]

    group = GroupCommit(connect, ignore)
    group.append(delivery())
    if is_broken:
        end_other_sessions(store)
    else:
        connections[0].run("SET default_transaction_read_only = on")
    group.append(delivery())
    assert (len(connections), transactions(store)) == (2, [1, 1])


def test_each_connection_that_breaks_is_closed(store: Store) -> None:
    connections = []

    def connect() -> Connection:
        connections.append(store.connect())
        end_other_sessions(store)
        return connections[-1]

    with pytest.raises(DatabaseUnavailable):
        GroupCommit(connect, ignore).append(delivery())
    assert [each._usock for each in connections] == [None, None]


def test_events_are_appended_only_once_if_the_reply_to_the_commit_is_lost(
    store: Store, wire: Wire
) -> None:
    woken = list[list[int]]()
    group = GroupCommit(lambda: database.connect(wire.url), lambda shards, _: woken.append(shards))
    group.append(delivery())
    wire.answers_to_lose = 1
    group.append(delivery())
    assert (transactions(store), woken) == ([1, 1], [[SHARD], [SHARD]])


ENOUGH = 60.0
HANGS = "a request hangs"


def fails(call: Future[Committed]) -> bool:
    """Return whether the call raised Unavailable.

    The call must end within 20 s, long before the time limit ENOUGH.
    """
    done, _ = wait([call], timeout=20)
    assert done, HANGS
    return isinstance(call.exception(), Unavailable)


def lead_group(gate: Gate, pool: ThreadPoolExecutor) -> tuple[GroupCommit, Future[Committed]]:
    group = GroupCommit(gate, ignore, timeout_s=ENOUGH)
    leader = pool.submit(group.append, delivery())
    gate.reached.wait()
    return group, leader


def test_a_request_fails_if_the_server_never_completes_the_handshake(
    silent: str, pool: ThreadPoolExecutor
) -> None:
    group = GroupCommit(lambda: database.connect(silent), ignore, timeout_s=0.5)
    assert fails(pool.submit(group.append, delivery()))


def test_a_connection_that_opens_too_late_is_closed(gate: Gate, pool: ThreadPoolExecutor) -> None:
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(gate())
        return made[-1]

    assert fails(pool.submit(GroupCommit(connect, ignore, timeout_s=0.2).append, delivery()))
    gate.open.set()
    readiness.wait(lambda: bool(made) and made[0]._usock is None, "the end of the connection")


@pytest.mark.parametrize("lost", ["hangs", "loses_requests"])
@pytest.mark.parametrize("appended", [0, 1], ids=["first statement", "later statement"])
def test_a_request_fails_if_a_statement_gets_no_reply(
    store: Store, wire: Wire, pool: ThreadPoolExecutor, appended: int, lost: str
) -> None:
    def connect() -> Connection:
        return database.connect(wire.url)

    def connect_and_hang() -> Connection:
        made = connect()
        setattr(wire, lost, True)
        return made

    # In time for what a busy machine appends first.
    group = GroupCommit(connect_and_hang if not appended else connect, ignore, timeout_s=2)
    for _ in range(appended):
        group.append(delivery())
    setattr(wire, lost, True)
    assert fails(pool.submit(group.append, delivery()))
    setattr(wire, lost, False)
    second = GroupCommit(connect, ignore, timeout_s=ENOUGH)
    second.append(delivery())
    assert sum(transactions(store)) >= appended + 1


def test_a_delivery_that_timed_out_during_its_commit_can_be_appended_again(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    group, leader = lead_group(gate, pool)
    one, other = delivery(), delivery()
    calls = [pool.submit(group.append, one)]
    await_queue(group, 1)
    calls.append(pool.submit(group.append, other, time.monotonic() - ENOUGH + 3))
    await_queue(group, 2)
    with closing(store.connect("holding")) as holding:
        holding.run("BEGIN")
        holding.run("SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0))")
        leads = group._queue[0]
        gate.open.set()
        assert fails(calls[1])
        assert leads.outcome is None
        holding.run("COMMIT")
    assert wait([leader, calls[0]], timeout=30).not_done == set(), HANGS
    group.append(other)
    assert sum(transactions(store)) == 3


def test_the_size_of_a_group_is_limited_in_bytes(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    group = GroupCommit(gate, ignore)
    calls = [pool.submit(group.append, delivery())]
    gate.reached.wait()
    for size in (3 << 20, 1 << 20, 1, 5 << 20, 1):
        large = delivery()
        calls.append(pool.submit(group.append, type(large)(large.message, large.entries, size)))
        await_queue(group, len(calls) - 1)
    gate.open.set()
    assert wait(calls, timeout=30).not_done == set(), HANGS
    assert transactions(store) == [1, 2, 1, 1, 1]
