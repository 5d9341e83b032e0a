"""If the database hangs at any stage of the group commit, a request ends at its deadline."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import datetime

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.ingest import group_commit
from progress.ingest.group_commit import GroupCommit
from tests.adapters.test_timeouts import silent
from tests.conftest import Store
from tests.ingest.test_group_commit import Gate, delivery, pool, transactions
from tests.support.postgres_wire import Wire

__all__ = ["pool", "silent"]

ENOUGH = 60.0
HANGS = "a request hangs"


def fails(call: Future[datetime]) -> bool:
    """Return whether the call raised Unavailable.

    The call must end within 8 s, long before the time limit ENOUGH.
    """
    done, _ = wait([call], timeout=8)
    assert done, HANGS
    return isinstance(call.exception(), Unavailable)


@pytest.fixture
def gate(store: Store) -> Iterator[Gate]:
    made = Gate(store)
    yield made
    made.open.set()


def lead_group(gate: Gate, pool: ThreadPoolExecutor) -> tuple[GroupCommit, Future[datetime]]:
    """Return a group and the call of its leader. The leader waits for the gate to open."""
    group = GroupCommit(gate, list, timeout_s=ENOUGH)
    leader = pool.submit(group.append, delivery())
    gate.reached.wait()
    return group, leader


def test_a_request_fails_if_the_server_never_completes_the_handshake(
    silent: str, pool: ThreadPoolExecutor
) -> None:
    group = GroupCommit(lambda: database.connect(silent), list, timeout_s=0.5)
    assert fails(pool.submit(group.append, delivery()))


def test_a_connection_that_opens_too_late_is_closed(gate: Gate, pool: ThreadPoolExecutor) -> None:
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(gate())
        return made[-1]

    assert fails(pool.submit(GroupCommit(connect, list, timeout_s=0.2).append, delivery()))
    gate.open.set()
    while not made or made[0]._usock is not None:
        pass


@pytest.mark.parametrize("appended", [0, 1], ids=["first statement", "later statement"])
def test_a_request_fails_if_a_statement_gets_no_reply(
    store: Store,
    wire: Wire,
    pool: ThreadPoolExecutor,
    appended: int,
) -> None:
    def connect() -> Connection:
        return database.connect(wire.url)

    def connect_and_hang() -> Connection:
        made = connect()
        wire.hangs = True
        return made

    group = GroupCommit(connect_and_hang if not appended else connect, list, timeout_s=0.5)
    for _ in range(appended):
        group.append(delivery())
    wire.hangs = True
    assert fails(pool.submit(group.append, delivery()))
    wire.hangs = False
    second = GroupCommit(connect, list, timeout_s=ENOUGH)
    second.append(delivery())
    assert sum(transactions(store)) >= appended + 1


def test_a_waiting_request_fails_at_its_own_deadline(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    group, leader = lead_group(gate, pool)
    old, young = time.monotonic() - ENOUGH + 0.2, time.monotonic()
    late = pool.submit(group.append, delivery(), old)
    other = pool.submit(group.append, delivery(), young)
    assert fails(late)
    assert not leader.done()
    gate.open.set()
    assert wait([leader, other], timeout=30).not_done == set(), HANGS
    assert [leader.exception(), other.exception()] == [None, None]
    assert transactions(store) == [1, 1]


def test_a_delivery_that_timed_out_during_its_commit_can_be_appended_again(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    group, leader = lead_group(gate, pool)
    one, other = delivery(), delivery()
    calls = [pool.submit(group.append, one)]
    while len(group._queue) < 1:
        pass
    calls.append(pool.submit(group.append, other, time.monotonic() - ENOUGH + 3))
    while len(group._queue) < 2:
        pass
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


class _Untimely(threading.Event):
    """A `threading.Event` whose `wait` waits until the event is set, then reports a timeout."""

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        super().wait()
        return False


def test_a_request_that_becomes_the_leader_at_its_deadline_still_commits(
    store: Store, gate: Gate, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = GroupCommit(gate, list, timeout_s=ENOUGH)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Event", _Untimely)
        tickets = [group_commit._Ticket(delivery(), time.monotonic() + ENOUGH) for _ in range(3)]
    monkeypatch.setattr(group_commit, "_Ticket", lambda *_: tickets.pop())
    monkeypatch.setattr(group_commit, "_MOST_EVENTS", 1)
    calls = [pool.submit(group.append, delivery())]
    gate.reached.wait()
    calls += [pool.submit(group.append, delivery()) for _ in range(2)]
    while len(group._queue) < 2:
        pass
    gate.open.set()
    assert wait(calls, timeout=8).not_done == set(), HANGS
    assert [call.exception() for call in calls] == [None] * 3
    assert transactions(store) == [1, 1, 1]


def test_a_leader_past_its_deadline_does_not_block_the_next_request(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    gate.open.set()
    group = GroupCommit(gate, list, timeout_s=ENOUGH)
    assert fails(pool.submit(group.append, delivery(), time.monotonic() - ENOUGH))
    group.append(delivery())
    assert transactions(store) == [1]


def test_the_size_of_a_group_is_limited_in_bytes(
    store: Store, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    group = GroupCommit(gate, list)
    calls = [pool.submit(group.append, delivery())]
    gate.reached.wait()
    for size in (3 << 20, 1 << 20, 1, 5 << 20, 1):
        large = delivery()
        calls.append(pool.submit(group.append, type(large)(large.message, large.entries, size)))
        while len(group._queue) < len(calls) - 1:
            pass
    gate.open.set()
    assert wait(calls, timeout=30).not_done == set(), HANGS
    assert transactions(store) == [1, 2, 1, 1, 1]
