"""The privileges of the database roles of ingest, project, query and the batch job."""

import uuid
from collections.abc import Iterator

import pg8000.exceptions
import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store.log import PostgresEventStore
from tests.conftest import Store
from tests.support.pushes import record_push

FUNCTIONS = ["progress_ingest", "progress_project", "progress_batch", "progress_query"]
DENIED = "42501"


@pytest.fixture
def log(store: Store) -> Iterator[Connection]:
    """A connection that may use every role; the log has one event."""
    connection = store.connect()
    append(connection)
    yield connection
    connection.close()


def append(connection: Connection) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "event_type": "New",
        "occurred_at": "2024-01-01T00:00:00Z",
    }
    record_push(connection, [event, {}])


def refused(connection: Connection, statement: str) -> bool:
    try:
        connection.run(statement)
    except pg8000.exceptions.DatabaseError as error:
        if database.read_failure(error).sqlstate == DENIED:
            return True
        raise
    return False


CHANGES = [
    "UPDATE event_store.events SET event_type = 'x'",
    "DELETE FROM event_store.events",
    "TRUNCATE event_store.events",
]


@pytest.mark.parametrize("change", CHANGES)
def test_neither_the_owner_nor_ingest_project_batch_or_query_may_change_an_event(
    log: Connection, change: str
) -> None:
    """Report tofugu/wanikani-api-v2-doc#40: answers that were recorded could no longer be read."""
    assert refused(log, change)  # even the owner, who is a superuser, may not change an event
    log.run("SET session_replication_role = replica")
    assert refused(log, change)
    for role in FUNCTIONS:
        log.run(f"SET ROLE {role}")
        assert refused(log, change)


@pytest.mark.parametrize("change", CHANGES[:2])
def test_the_erasure_role_may_change_events(log: Connection, change: str) -> None:
    log.run("SET ROLE progress_erasure")
    assert not refused(log, change)


def test_no_role_may_read_the_server_s_files(log: Connection) -> None:
    for role in FUNCTIONS:
        log.run(f"SET ROLE {role}")
        assert refused(log, "SELECT lo_import('/etc/hostname')")


# SQL functions, each with the parts that may call it.
CALLS = {
    'event_store.append(\'{"messages": [], "events": []}\')': "ingest project batch",
    "event_store.record_batch('[]', true)": "",
    "event_store.append_own('ann', '[]', NULL, false, NULL, NULL)": "query",
    "event_store.position_at(now())": "project",
    "event_store.quarantine(1, 'x')": "project batch",
    "event_store.mark_poisoned('f', 1, 'x')": "project batch",
    "event_store.discard_letters('{1}', 'x')": "query",
    "event_store.release(1)": "project",
    "event_store.clear_marks(1, 'f')": "project",
    "event_store.mark_replayed(1)": "project batch",
    "event_store.mark_failed(1, 'invalid', 'x')": "project batch",
    "event_store.record_accesses('eve', 'admin', '{ann}')": "query project",
    "event_store.redact_accesses('eve', 1)": "project",
    "operations.accept('RUN_BATCH', 'u', 'k', '{}', '{}', 'b', 1, NULL)": "batch query",
    "operations.cancel(NULL, 'u')": "query",
    "operations.retry(NULL, 60)": "query",
    "operations.list_unclaimed()": "batch",
    "operations.archive_is_due(1, '1 day')": "batch",
}


def test_each_sql_function_may_be_called_only_by_the_listed_roles(log: Connection) -> None:
    for call, callers in CALLS.items():
        for role in FUNCTIONS:
            log.run(f"SET ROLE {role}")
            assert refused(log, f"SELECT {call}") == (role[9:] not in callers.split()), (call, role)


READ, DELETE, MOVE = ["SELECT"], ["SELECT", "DELETE"], ["SELECT", "UPDATE"]
# Of each table, what each part may do to it.
RIGHTS = {
    "event_store.events": {"query": READ, "project": READ, "batch": READ},
    "event_store.sessions": {"query": READ},
    "event_store.pending": {"query": READ, "batch": READ},
    "event_store.dead_letters": {"query": READ, "project": READ, "batch": DELETE},
    "event_store.poisoned": {"query": READ, "project": READ, "batch": READ},
    "event_store.poison_marks": {"query": READ, "project": READ, "batch": READ},
    "event_store.accesses": {"query": READ, "project": READ, "batch": DELETE},
    "event_store.snapshots": {
        "query": READ,
        "project": ["SELECT", "INSERT", "DELETE"],
        "batch": ["SELECT", "INSERT", "UPDATE", "DELETE"],
    },
    "operations.operations": {"query": READ, "project": MOVE, "batch": ["DELETE"]},
    "operations.steps": {"query": READ, "project": MOVE},
}


def test_each_role_has_only_the_listed_rights_to_a_table(log: Connection) -> None:
    for table, expected in RIGHTS.items():
        for role in FUNCTIONS:
            found = [
                right
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
                if log.run(f"SELECT has_table_privilege('{role}', '{table}', '{right}')")
                == [[True]]
            ]
            assert found == expected.get(role[9:], []), (table, role)


def test_append_ignores_the_search_path_of_the_session(log: Connection) -> None:
    log.run("CREATE TEMP TABLE events (global_position bigint)")
    log.run("CREATE FUNCTION pg_temp.greatest(a int) RETURNS int LANGUAGE sql RETURN 1")
    log.run("SET search_path = pg_temp, event_store")
    append(log)
    log.run("RESET search_path")
    assert [e.global_position for e in PostgresEventStore(log).read_all_events(1, 10)] == [1, 2]
