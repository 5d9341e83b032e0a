"""The privileges of the database roles of ingest, project, query and the batch job."""

import uuid
from collections.abc import Iterator

import pg8000.exceptions
import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.event_store import log as event_log
from progress.event_store.log import PostgresEventStore
from progress.ingest import push
from tests.conftest import Store
from tests.support.pushes import encode_push

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
    event_log.append(connection, [push.parse_delivery(encode_push([event, {}]))])


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


@pytest.mark.parametrize("role", FUNCTIONS)
def test_no_role_may_insert_rows_without_calling_append(log: Connection, role: str) -> None:
    log.run(f"SET ROLE {role}")
    for table in ("events", "sessions", "pending", "dead_letters", "poisoned", "poison_marks"):
        assert refused(log, f"INSERT INTO event_store.{table} DEFAULT VALUES")


@pytest.mark.parametrize("role", FUNCTIONS)
def test_no_role_may_read_the_server_s_files(log: Connection, role: str) -> None:
    log.run(f"SET ROLE {role}")
    assert refused(log, "SELECT lo_import('/etc/hostname')")


def test_the_ingest_role_may_only_append(log: Connection) -> None:
    log.run("SET ROLE progress_ingest")
    append(log)
    tables = ("events", "sessions", "pending", "dead_letters", "poisoned", "poison_marks")
    for table in (*tables, "snapshots"):
        assert refused(log, f"SELECT FROM event_store.{table}")
    for call in (
        "record_batch('[]', true)",
        "quarantine(1, 'x')",
        "mark_poisoned('f', 1, 'x')",
        "discard_letters('{1}', 'x')",
    ):
        assert refused(log, f"SELECT event_store.{call}")


def test_the_project_and_batch_roles_may_append_but_the_query_role_may_not(log: Connection) -> None:
    log.run("SET ROLE progress_query")
    assert refused(log, "SELECT event_store.append('{}')")
    for role in ("progress_project", "progress_batch"):  # these roles replay dead letters
        log.run(f"SET ROLE {role}")
        append(log)


def test_the_project_and_batch_and_query_roles_may_read_the_log(log: Connection) -> None:
    for role in FUNCTIONS[1:]:
        log.run(f"SET ROLE {role}")
        assert len(PostgresEventStore(log).read_all_events(1, 10)) == 1


def test_the_project_role_may_mark_events_as_poisoned(log: Connection) -> None:
    log.run("SET ROLE progress_project")
    log.run("SELECT event_store.quarantine(1, 'x'), event_store.mark_poisoned('f', 1, 'x')")
    assert log.run("SELECT global_position FROM event_store.poisoned") == [[1]]
    assert log.run("SELECT fingerprint, global_position FROM event_store.poison_marks") == [
        ["f", 1]
    ]
    log.run("RESET ROLE")
    assert log.run("SELECT count(*) FROM event_store.dead_letters WHERE kind = 'poisoned'") == [[1]]


def test_the_project_role_may_replay_dead_letters_but_not_discard_them(log: Connection) -> None:
    log.run("SELECT event_store.quarantine(1, 'x'), event_store.mark_poisoned('f', 1, 'x')")
    ((letter,),) = log.run("SELECT max(letter_id) FROM event_store.dead_letters")
    log.run("SET ROLE progress_project")
    assert log.run("SELECT event_store.clear_marks(:letter, 'f')", letter=letter) == [[1]]
    assert dead_letters.read(log, letter).replayed_at
    assert refused(log, f"SELECT event_store.discard_letters('{{{letter}}}', 'x')")


def test_the_query_role_may_discard_dead_letters_but_not_replay_them(log: Connection) -> None:
    log.run("SET ROLE progress_query")
    assert log.run("SELECT event_store.discard_letters('{1}', 'x')") == [[1]]
    for call in (
        "release(1)",
        "clear_marks(1, 'f')",
        "mark_replayed(1)",
        "mark_failed(1, 'x', 'x')",
    ):
        assert refused(log, f"SELECT event_store.{call}")


CALLS = {  # SQL functions of the schema `operations`, each with the roles that may call it
    "accept('RUN_BATCH', 'u', 'k', '{}', '{}', 'b', 1, NULL)": "progress_batch progress_query",
    "cancel(NULL, 'u')": "progress_query",
    "retry(NULL, 60)": "progress_query",
    "list_unclaimed()": "progress_batch",
    "archive_is_due(1, '1 day')": "progress_batch",
}


@pytest.mark.parametrize("call", CALLS)
def test_each_function_of_the_operations_schema_may_be_called_only_by_the_listed_roles(
    log: Connection, call: str
) -> None:
    for role in FUNCTIONS:
        log.run(f"SET ROLE {role}")
        assert refused(log, f"SELECT operations.{call}") == (role not in CALLS[call].split())


def rights(connection: Connection, role: str, table: str) -> set[str]:
    return {
        right
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
        if connection.run(f"SELECT has_table_privilege('{role}', '{table}', '{right}')") == [[True]]
    }


def test_only_the_project_role_may_change_operations_and_only_the_batch_role_may_delete_them(
    log: Connection,
) -> None:
    expected = {"progress_query": {"SELECT"}, "progress_project": {"SELECT", "UPDATE"}}
    for table, others in (("operations", {"progress_batch": {"DELETE"}}), ("steps", {})):
        for role in FUNCTIONS:
            own = (expected | others).get(role, set())
            assert rights(log, role, f"operations.{table}") == own


def test_only_the_project_and_batch_roles_may_write_snapshots(log: Connection) -> None:
    for role in FUNCTIONS:
        may_write = role in ("progress_project", "progress_batch")
        written = {"INSERT", "DELETE"} & rights(log, role, "event_store.snapshots")
        assert written == ({"INSERT", "DELETE"} if may_write else set())


def test_readers_append_to_the_trace_of_who_read_whom_and_nobody_changes_it(
    log: Connection,
) -> None:
    may = {
        "progress_query": {"SELECT"},
        "progress_project": {"SELECT"},
        "progress_batch": {"SELECT", "DELETE"},
    }
    for role in FUNCTIONS:
        assert rights(log, role, "event_store.accesses") == may.get(role, set())
        log.run(f"SET ROLE {role}")
        for call, callers in (
            ("record_accesses('eve', 'admin', '{ann}')", ("progress_query", "progress_project")),
            ("redact_accesses('eve', 1)", ("progress_project",)),
        ):
            assert refused(log, f"SELECT event_store.{call}") == (role not in callers)
        log.run("RESET ROLE")


def test_append_ignores_the_search_path_of_the_session(log: Connection) -> None:
    log.run("CREATE TEMP TABLE events (global_position bigint)")
    log.run("CREATE FUNCTION pg_temp.greatest(a int) RETURNS int LANGUAGE sql RETURN 1")
    log.run("SET search_path = pg_temp, event_store")
    append(log)
    log.run("RESET search_path")
    assert [e.global_position for e in PostgresEventStore(log).read_all_events(1, 10)] == [1, 2]
