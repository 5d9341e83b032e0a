"""What the query function records of teachers: all of a call or nothing, and no more."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pg8000.exceptions import DatabaseError, InterfaceError

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.serve import readiness
from tests.conftest import Store
from tests.support import sample_events
from tests.support.postgres_servers import url_of
from tests.support.stage import append, connect

DUE = date(2024, 5, 1)
WHO = {"caller": "tom", "mutation": "setTask", "key": "k"}
TASK = {"group_id": "g1", "list_id": None, "name": "Words", "item_ids": ["i1", "i2"]}
SET: dict[str, Any] = {**WHO, **TASK, "due_on": DUE}
ASSIGN = SET | {"mutation": "assignList", "list_id": "unit", "name": None, "item_ids": None}
UNASSIGN = ASSIGN | {"mutation": "unassignList", "due_on": None}
CALL = (
    "SELECT * FROM event_store.append_tasks(:caller, :mutation, :key, :group_id, :list_id, :name, "
    "CAST(:item_ids AS text[]), CAST(:due_on AS date))"
)


def record(connection: Connection, call: dict[str, Any], **changed: Any) -> list[Any]:
    """Return the list's id, the number of events, the shards and the position."""
    (row,) = connection.run(CALL, **call | changed)
    return list(row)


@pytest.fixture
def query(store: Store) -> Iterator[Connection]:
    with closing(connect(url_of(store.url, "query"))) as made:
        yield made


def rows(connection: Connection) -> list[Any]:
    found: list[Any] = connection.run(
        "SELECT event_type, stream_id, event_data, metadata, occurred_at, event_id::text "
        "FROM event_store.events ORDER BY global_position"
    )
    return found


LONG = "x" * 201
HOSTILE: dict[str, dict[str, Any]] = {
    **{f"no {name}": SET | {name: None} for name in SET if name != "list_id"},
    **{f"an empty {name}": SET | {name: ""} for name in ("caller", "key", "group_id", "name")},
    **{f"a long {name}": SET | {name: LONG} for name in ("caller", "key", "group_id", "name")},
    "another mutation": SET | {"mutation": "setGoal"},
    "a list of its own": SET | {"list_id": "unit"},
    "a control character": SET | {"name": "a\x7fb"},
    **{f"the items {n}": SET | {"item_ids": items} for n, items in enumerate((
        [], [f"{n}" for n in range(101)], ["i", "j", "i"], ["i", None], [LONG],
        [["i", "j"], ["k", "l"]]))},
    **{f"the day {day}": SET | {"due_on": day} for day in ("1999-12-31", "2100-01-01", "infinity")},
    **{f"the list {one}": ASSIGN | {"list_id": one} for one in ("own:unit", None, "", LONG)},
    "a named list": ASSIGN | {"name": "Words"},
    "a list with items": UNASSIGN | {"item_ids": ["i"]},
    "a day on which it is taken back": UNASSIGN | {"due_on": DUE},
}  # fmt: skip


def test_a_call_that_no_teacher_may_make_raises_and_nothing_is_recorded(
    query: Connection, connection: Connection
) -> None:
    for name, call in HOSTILE.items():
        with pytest.raises(DatabaseError):
            pytest.fail(f"{name}: {record(query, call)}")
    assert rows(connection) == []


def test_what_is_given_stands_in_the_data_alone_and_the_caller_nowhere(
    query: Connection, connection: Connection
) -> None:
    odd = "'); DROP TABLE event_store.events; --\"\\{}"
    call = SET | {"name": odd, "item_ids": [odd, '{NULL,"}'], "group_id": odd, "key": odd}
    list_id, *_ = record(query, call)
    stored = rows(connection)
    assert [data for _, _, data, *_ in stored] == [
        {"list_id": list_id, "name": odd},
        *(
            {"list_id": list_id, "item_id": i, "position": n}
            for n, i in enumerate(call["item_ids"])
        ),
        {"list_id": list_id, "group_id": odd, "due_on": f"{DUE}"},
    ]
    assert {stream for _, stream, *_ in stored} == {f"list-{list_id}", f"group-{odd}"}
    assert all(metadata == {"posted_by": "teacher"} for _, _, _, metadata, *_ in stored)
    assert "tom" not in f"{stored}"
    again = record(query, call)
    assert (again[:2], len(rows(connection))) == ([list_id, 0], len(stored))


def test_another_call_with_a_key_that_is_used_raises_and_nothing_is_recorded(
    query: Connection, connection: Connection
) -> None:
    assert record(query, SET)[1] == 4
    others: tuple[dict[str, Any], ...] = (
        *({"item_ids": items} for items in (["i2", "i1"], ["i1"], ["i1", "i2", "i3"])),
        *({"name": "W"}, {"group_id": "g2"}, {"due_on": date(2024, 5, 2)}),
    )
    for other in others:
        with pytest.raises(DatabaseError, match="PR003"):
            record(query, SET | other)
    assert (record(query, SET)[1], len(rows(connection))) == (0, 4)


def test_each_call_and_event_has_an_id_of_its_own_that_only_the_key_gives(
    query: Connection, connection: Connection
) -> None:
    lists = {record(query, SET, caller=c, key=k)[0] for c in ("tom", 'tom","') for k in "kl"}
    for call in (ASSIGN, UNASSIGN):
        for caller in ("tom", "eve"):
            record(query, call, caller=caller)
            record(query, call | {"list_id": "other"}, caller=caller, key="other")
    ids = [row[5] for row in rows(connection)]
    assert (len(lists), len({*ids})) == (4, len(ids))
    connection.run("UPDATE event_store.erasure_key SET inner_key = outer_key")
    assert record(query, SET)[0] not in lists


def test_the_assignment_follows_what_a_clock_ahead_has_decided(
    query: Connection, connection: Connection
) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=9)
    told = {"list_id": "unit", "group_id": "g1"}
    others = [told | {"group_id": "g2"}, told | {"list_id": "other"}]
    events = [
        sample_events.envelope("ListAssigned", data | {"due_on": f"{DUE}"}, at=at)
        for data, at in ((told, ahead), *((data, ahead + timedelta(seconds=9)) for data in others))
    ]
    append(connection, events)
    for n, (call, kind) in enumerate(((UNASSIGN, "ListUnassigned"), (ASSIGN, "ListAssigned")), 1):
        assert record(query, call)[1] == 1
        assert rows(connection)[-1][0] == kind
        assert rows(connection)[-1][4] == ahead + timedelta(microseconds=n)
    assert record(query, ASSIGN, group_id="g3", key="g3")[1] == 1
    assert rows(connection)[-1][4] < ahead


def test_a_task_ends_when_it_is_taken_back_from_its_last_group(
    query: Connection, connection: Connection
) -> None:
    list_id, *_ = record(query, SET)
    assigned, taken = ASSIGN | {"list_id": list_id}, UNASSIGN | {"list_id": list_id}
    assert record(query, assigned, group_id="g2")[1] == 1
    assert record(query, taken, group_id="g3")[1:] == [0, [], None], "it was never assigned to g3"
    assert record(query, taken)[1] == 1
    assert record(query, taken, key="again")[1:] == [0, [], None]
    assert record(query, taken, group_id="g2", key="last")[1] == 2
    position = connection.run("SELECT max(global_position) FROM event_store.events")[0][0]
    assert record(query, taken, group_id="g2", key="last")[1::2] == [0, position]
    assert [row[0] for row in rows(connection)[-2:]] == ["ListUnassigned", "ListArchived"]
    with pytest.raises(DatabaseError, match="PR004"):
        record(query, assigned, key="late")
    assert record(query, ASSIGN, key="unit")[1] == 1
    assert record(query, UNASSIGN, key="unit")[1] == 1, "a list of the catalogue is not archived"


def test_callers_at_once_with_one_key_set_one_task(store: Store, connection: Connection) -> None:
    def call(_: int) -> list[Any]:
        with closing(connect(url_of(store.url, "query"))) as query:
            return record(query, SET)

    waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(20) as pool:
        with database.transaction(connection):
            connection.run(
                "SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0))"
            )
            calls = pool.map(call, range(20))
            readiness.wait(lambda: len(connection.run(waiting)) == 20, "the calls' wait")
        done = [*calls]
    assert sorted(row[1] for row in done) == [0] * 19 + [4]
    assert len({tuple(map(str, (row[0], row[3]))) for row in done}) == 1
    assert len(rows(connection)) == 4


@pytest.mark.parametrize("call", [SET, ASSIGN, UNASSIGN])
def test_a_killed_session_has_recorded_all_or_nothing(
    store: Store, connection: Connection, call: dict[str, Any]
) -> None:
    with closing(connect(url_of(store.url, "query"))) as other:
        if call is UNASSIGN:
            call = UNASSIGN | {"list_id": record(other, SET)[0]}
        before = len(rows(connection))
        killed = connect(url_of(store.url, "query"))
        ((pid,),) = killed.run("SELECT pg_backend_pid()")
        killed.run("BEGIN")
        expected = record(killed, call)[1]
        assert len(rows(connection)) == before
        connection.run("SELECT pg_terminate_backend(:pid, 10000)", pid=pid)
        with suppress(InterfaceError):
            killed.close()
        assert len(rows(connection)) == before
        assert record(other, call)[1] == expected
        assert len(rows(connection)) == before + expected
        assert record(other, call)[1] == 0
