"""Requests that share transactions: none waits for ever, none fails for another."""

import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Store
from delivering import pushed

from progress import database, databaseurl, push
from progress.database import Connection
from progress.envelope import Arrival, Message
from progress.errors import EventStoreError, Unavailable
from progress.eventlog import Delivery
from progress.groupcommit import GroupCommit
from progress.moments import EARLIEST


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as running:
        yield running


def delivery() -> Delivery:
    return push.open_push(
        pushed(
            {
                "event_id": str(uuid.uuid4()),
                "event_type": "SessionAbandoned",
                "occurred_at": "2024-03-01T00:00:00Z",
                "data": {"session_id": "s"},
                "metadata": {"user_id": "u"},
            }
        )
    )


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
) -> list[Future[list[int]]]:
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
    group = GroupCommit(gate)
    results = [f.result() for f in queued(group, gate, pool, *(delivery() for _ in range(20)))]
    assert transactions(store) == [1, 20]
    assert sum(map(len, results)) == 2  # a wake-up for each transaction, not for each request


def test_one_that_is_refused_does_not_fail_the_others(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    gate = Gate(store)
    _, one, refused, other = queued(GroupCommit(gate), gate, pool, delivery(), bad(), delivery())
    with pytest.raises(EventStoreError):
        refused.result()
    assert [one.exception(), other.exception()] == [None, None]
    assert sum(transactions(store)) == 3


def test_a_leader_that_dies_leaves_nobody_waiting(store: Store, pool: ThreadPoolExecutor) -> None:
    gate = Gate(store)
    gate.faults = [RuntimeError("first"), RuntimeError("second")]
    group = GroupCommit(gate)
    results = queued(group, gate, pool, delivery(), delivery(), delivery())
    faults = [type(result.exception()) for result in results]
    assert faults.count(RuntimeError) == 2
    assert faults.count(Unavailable) == 2
    group.take(delivery())
    assert transactions(store) == [1]


def test_a_database_that_is_away_is_told_to_all(store: Store, pool: ThreadPoolExecutor) -> None:
    gate = Gate(store)
    gate.faults = [Unavailable("away")] * 4
    results = queued(GroupCommit(gate), gate, pool, delivery(), delivery())
    assert [type(result.exception()) for result in results] == [Unavailable] * 3


def test_a_connection_that_broke_is_opened_again(store: Store) -> None:
    connections: list[Connection] = []

    def connect() -> Connection:
        connections.append(store.connect())
        return connections[-1]

    group = GroupCommit(connect)
    group.take(delivery())
    with closing(store.connect()) as other:
        other.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    group.take(delivery())
    assert (len(connections), transactions(store)) == (2, [1, 1])


class Wire:
    """A Unix socket before the server's; it can lose an answer and then break."""

    def __init__(self, server: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wire-"))
        self.loses_answers = False
        self._server = server
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / ".s.PGSQL.5432"))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(65_536):
                server.sendall(said)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while (said := server.recv(65_536)) and not self.loses_answers:
                client.sendall(said)
        self.loses_answers = False
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def wire(store: Store) -> Iterator[tuple[Wire, Callable[[], Connection]]]:
    at = databaseurl.address(store.url)
    if not at.host.startswith("/"):
        pytest.skip("the server has no Unix socket")
    made = Wire(f"{at.host}/.s.PGSQL.{at.port}")
    url = f"postgresql://{at.user}@/{at.database}?host={quote(str(made.folder), safe='/')}"
    yield made, lambda: database.connect(url)
    made.close()


def test_an_answer_that_was_lost_after_the_commit_appends_nothing_twice(
    store: Store, wire: tuple[Wire, Callable[[], Connection]]
) -> None:
    losing, connect = wire
    group = GroupCommit(connect)
    group.take(delivery())
    losing.loses_answers = True
    group.take(delivery())
    assert transactions(store) == [1, 1]
