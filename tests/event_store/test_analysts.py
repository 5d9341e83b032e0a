"""Analysts do not stop the service with advisory locks, and do not fill the disk with objects."""

import contextlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from pg8000.exceptions import DatabaseError

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.event_store import analysts
from progress.ingest import push
from progress.ingest.group_commit import GroupCommit
from progress.serve import readiness
from tests.conftest import Store
from tests.operations.test_batch_job import run_batch
from tests.support.envelopes import session_abandoned
from tests.support.postgres_servers import connect_plainly, url_of
from tests.support.pushes import encode_push

pytestmark = pytest.mark.every_postgres

# As where the owner is no superuser, who could revoke them.
GRANT = """
    GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint), pg_advisory_lock_shared(int, int),
        lo_create(oid) TO PUBLIC
"""
APPEND = "SELECT pg_advisory_lock(hashtextextended('event_store.append', 0))"
LOCKS = (
    APPEND,
    "SELECT pg_advisory_lock_shared(hashtext('progress_0123456789ab'), 7)",
    "SELECT pg_advisory_lock(hashtextextended('progress.migrations', 0))",
)
OBJECTS = "SELECT count(*) FROM pg_largeobject_metadata"


@contextlib.contextmanager
def open_analyst(store: Store) -> Iterator[Connection]:
    connection = connect_plainly(url_of(store.url, "analyst"))
    yield connection
    connection._usock.close()  # the session may have ended


def is_open(connection: Connection) -> bool:
    try:
        return bool(connection.run("SELECT 1"))
    except database.ERRORS:
        return False


def test_where_the_owner_is_a_superuser_analysts_have_no_such_functions(store: Store) -> None:
    for statement in (*LOCKS, "SELECT pg_try_advisory_xact_lock(1, 2)", "SELECT lo_create(0)"):
        with open_analyst(store) as analyst, pytest.raises(DatabaseError, match="42501"):
            analyst.run(statement)
    for function in ("ingest", "project", "batch", "query"):
        with closing(database.connect(url_of(store.url, function))) as connection:
            connection.run("SELECT pg_advisory_xact_lock(1)")


@pytest.mark.parametrize("statement", LOCKS)
def test_the_batch_job_ends_the_session_of_an_analyst_that_holds_a_lock(
    store: Store, connection: Connection, statement: str
) -> None:
    connection.run(GRANT)
    connection.run("SELECT pg_advisory_lock(123)")  # others may hold locks
    with open_analyst(store) as analyst, open_analyst(store) as other:
        analyst.run(statement)
        other.run("SELECT 1")
        run_batch(store)
        assert not is_open(analyst)
        assert is_open(other)
    assert is_open(connection)


def test_a_session_that_waits_for_a_lock_of_the_service_is_ended_too(
    store: Store, connection: Connection
) -> None:
    """When the service releases the lock, the session would hold it."""
    connection.run(GRANT)
    connection.run(APPEND)
    with open_analyst(store) as analyst:
        analyst._usock.setblocking(True)
        analyst.send_QUERY(APPEND)
        analyst._sock.flush()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        readiness.wait(lambda: connection.run(waits) != [[0]], "the append", seconds=300)
        analysts.end_locks(connection)
        assert connection.run(waits) == [[0]]


def test_the_batch_job_removes_the_large_objects_of_analysts_only(
    store: Store, connection: Connection
) -> None:
    connection.run(GRANT)
    connection.run("SELECT lo_create(0)")
    with open_analyst(store) as analyst:
        analyst.run("SELECT lo_create(0) FROM generate_series(1, 5)")
    assert connection.run(OBJECTS) == [[6]]
    run_batch(store)
    assert connection.run(OBJECTS) == [[1]]


def test_ingest_ends_a_session_of_an_analyst_for_whose_lock_an_append_waited(
    store: Store, connection: Connection
) -> None:
    connection.run(GRANT)
    connection.run("ALTER FUNCTION event_store.append SET lock_timeout = '50ms'")
    url = url_of(store.url, "ingest")
    with open_analyst(store) as analyst:
        analyst.run(APPEND)
        group = GroupCommit(lambda: database.connect(url, timeout_s=15), lambda *_: None)
        group.append(push.parse_delivery(encode_push(session_abandoned())))
        group._close()
        assert not is_open(analyst)
    assert connection.run("SELECT count(*) FROM event_store.events") == [[1]]


@pytest.mark.parametrize("block", ["end locks", "remove objects"])
def test_other_functions_may_not_end_or_remove_anything(store: Store, block: str) -> None:
    for function in ("query", "project", "analyst"):
        with (
            contextlib.closing(connect_plainly(url_of(store.url, function))) as connection,
            pytest.raises(DatabaseError, match="42501"),
        ):
            connection.run(statements.blocks("event_store/analysts")[block])
