"""The database sessions of as-of queries: their number, limits, temporary tables, privileges."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from progress.adapters import request_scope
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.errors import QueryTooComplex, Unavailable
from progress.projections import batch, schema, snapshots
from progress.projections.models import BATCH
from progress.projections.projector import SHARDS, Projector
from progress.query.read_models import as_of
from tests.conftest import Store
from tests.support import api, as_of_fixtures, sample_events
from tests.support.api import QueryClient
from tests.support.stage import append, connect

pytestmark = pytest.mark.every_postgres

# The only tables and views of the live read models without a temporary copy in as-of sessions.
SHARED = {
    *("facts", "preference_facts", "deletion_facts", "catalogue_facts", "window_shape"),
    *("checkpoints", "shards_behind", "batch_checkpoints", "learner_versions"),
    *("snapshot_learners", "projections"),
    *(model.name for model in BATCH),
}


def test_only_a_few_as_of_queries_run_concurrently_and_other_queries_do_not_wait(
    store: Store, connection: Connection, fetch: QueryClient
) -> None:
    as_of_fixtures.record(connection, *sample_events.lesson("ann", 0))
    as_of_fixtures.query_past(fetch, as_of=as_of_fixtures.noon_of_day(0))

    async def crowd() -> list[Any]:
        queries = [
            asyncio.ensure_future(
                fetch.queries.get_streak(user, as_of=as_of_fixtures.noon_of_day(day))
            )
            for user in ("ann", "nobody")
            for day in range(4)
        ]
        while (await _waiting(store)) < as_of._SESSIONS:
            await asyncio.sleep(0)
        assert (
            await fetch.queries.get_streak("ann", at=as_of_fixtures.noon_of_day(0))
        ).current == 1
        assert await _waiting(store) == as_of._SESSIONS
        connection.run("ROLLBACK")
        return list(await asyncio.gather(*queries))

    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.snapshots IN ACCESS EXCLUSIVE MODE")
    assert [streak.current for streak in fetch(crowd())] == [1, 1, 0, 0, 0, 0, 0, 0]


def test_one_learner_cannot_occupy_all_sessions(
    store: Store, connection: Connection, fetch: QueryClient
) -> None:
    """Ann's queries wait for a lock; if they held all sessions, Ben's query would wait too."""
    waits, goes = (
        statements.NumberedStatement(f"SELECT {what}", ())
        for what in ("pg_advisory_xact_lock_shared(17)", "1")
    )

    async def crowd() -> None:
        of_the_past, moments = (
            as_of.AsOfReader(store.url),
            {"as_of": as_of_fixtures.noon_of_day(0), "known_at": None},
        )
        queries = [
            asyncio.ensure_future(of_the_past.fetch(waits, {"user_id": "ann"}, **moments))
            for _ in range(2 * as_of._SESSIONS)
        ]
        while not await _waiting(store):
            await asyncio.sleep(0)
        assert await of_the_past.fetch(goes, {"user_id": "ben"}, **moments)
        connection.run("SELECT pg_advisory_unlock(17)")
        assert len(await asyncio.gather(*queries)) == 2 * as_of._SESSIONS
        of_the_past.close()

    connection.run("SELECT pg_advisory_lock(17)")
    fetch(crowd())


async def _waiting(store: Store) -> int:
    """Return the number of as-of sessions that wait for a lock."""

    def count() -> int:
        watching = store.connect()
        rows = watching.run("""SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'past' AND wait_event_type = 'Lock'""")
        watching.close()
        return int(rows[0][0])

    return await asyncio.to_thread(count)


def test_an_as_of_query_stops_at_the_deadline(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_events.record_lessons(connection, "ann")
    monkeypatch.setattr(request_scope, "TIMEOUT_S", 1)
    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.snapshots IN ACCESS EXCLUSIVE MODE")
    with (
        closing(QueryClient(store.url)) as fetch,
        pytest.raises(Unavailable, match="did not respond"),
    ):
        fetch(fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(0)))
    connection.run("ROLLBACK")


def test_the_roles_have_the_privileges_for_snapshots_and_as_of_queries(
    store: Store, connection: Connection
) -> None:
    append(connection, sample_events.lesson("ann", 0))
    folding, job = connect(store.url), connect(store.url)
    folding.run("SET ROLE progress_project")
    projector = Projector(folding)
    projector.catch_up_all()
    job.run("SET ROLE progress_batch")
    batch.fold(job, list(SHARDS))
    assert snapshots.take(job, as_of_fixtures.EVERY_EVENT) == 1
    query = session(store, "progress_query")
    with database.transaction(query):
        fold = statements.blocks("projections/as_of")["fold_as_of"]
        query.run(
            fold,
            user_id="ann",
            as_of=as_of_fixtures.noon_of_day(0).isoformat(),
            known_at=None,
            is_last=True,
        )
        assert query.run("SELECT answers FROM user_progress") == [[3]]
    append(connection, [as_of_fixtures.event("UserDeleted", 9)])
    assert projector.catch_up_all() == 1
    assert as_of_fixtures.count_snapshots(connection) == 0
    snapshots.drop_orphans(folding)
    for opened in (folding, job, query):
        opened.close()


def session(store: Store, role: str) -> Connection:
    """Open an as-of session as the query function does, with the privileges of a role."""
    made = store.connect()
    made.run(f"SET ROLE {role}")
    made.run("SELECT set_config('search_path', :path, false)", path=as_of._SETTINGS["search_path"])
    made.execute_simple(schema.as_of_tables())
    return made


def test_every_table_with_rows_of_learners_is_temporary_in_an_as_of_session(
    store: Store, connection: Connection
) -> None:
    live = connection.run("""SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')""")
    made = session(store, "progress_query")
    own = made.run("SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()")
    made.close()
    assert {name for (name,) in live} - {name for (name,) in own} == SHARED & {n for (n,) in live}


def test_a_fold_fails_in_a_session_without_temporary_tables(connection: Connection) -> None:
    with pytest.raises(Exception, match="no temporary tables"):
        connection.run("SELECT fold_as_of('ann', 'infinity', 'infinity', true)")


def test_queries_about_the_same_past_time_share_a_fold_within_a_request(
    connection: Connection, fetch: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of_fixtures.record(
        connection, *sample_events.lesson("ann", 0), *sample_events.lesson("ben", 0)
    )
    connection.run("DELETE FROM event_store.snapshots")
    folded, fold = [], as_of._Folds._fold

    async def record_fold(self: Any, session: Any, moments: Any, *flags: Any) -> bool | None:
        folded.append((self.user_id, moments[0], *flags))
        return await fold(self, session, moments, *flags)

    monkeypatch.setattr(as_of._Folds, "_fold", record_fold)

    async def request() -> list[Any]:
        with request_scope.begin(10.0):
            return await asyncio.gather(
                *(
                    fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(0))
                    for _ in range(5)
                ),
                *(
                    fetch.queries.get_current_progress("ann", as_of=as_of_fixtures.noon_of_day(0))
                    for _ in range(5)
                ),
                fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(1)),
                fetch.queries.get_streak("ben", as_of=as_of_fixtures.noon_of_day(0)),
            )

    answers = fetch(request())
    assert [streak.current for streak in answers[:5]] == [1] * 5
    assert [progress.total_sessions_completed for progress in answers[5:10]] == [1] * 5
    # Each row ends with is_first and is_last. Ann's second fold continues her first one, and Ben's
    # only fold is both the first and the last.
    assert sorted(folded) == [
        ("ann", as_of_fixtures.noon_of_day(0), True, False),
        ("ann", as_of_fixtures.noon_of_day(1), False, True),
        ("ben", as_of_fixtures.noon_of_day(0), True, True),
    ]


def test_a_request_makes_at_most_three_folds(fetch: QueryClient) -> None:
    async def request() -> None:
        with request_scope.begin(10.0):
            for day in range(as_of.MAX_FOLDS):
                await fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(day))
            with pytest.raises(QueryTooComplex, match="3 pairs of learner and time - found 4"):
                await fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(9))

    fetch(request())


def test_a_history_that_is_too_long_is_rejected_with_advice(
    store: Store, connection: Connection
) -> None:
    as_of_fixtures.record(connection, *sample_events.lesson("ann", 0))
    connection.run("""INSERT INTO event_store.events
        SELECT 10000, gen_random_uuid(), stream_id, 300000, event_type, event_data, metadata,
            occurred_at + interval '1 day', created_at, shard
        FROM event_store.events WHERE stream_id = 'learner-ann' LIMIT 1""")
    with api.serve(store.url) as query_api:
        query = '{ streak(asOf: "2024-05-01T00:00:00Z") { current } }'
        code, message = query_api.error(query)
    assert code == "UNAVAILABLE"
    assert "at most 210000 events since a snapshot of the learner - found 29" in message
    assert message.endswith("ask about a later time, or leave both out")


def test_only_the_events_since_a_snapshot_are_folded(
    store: Store, connection: Connection, fetch: QueryClient
) -> None:
    as_of_fixtures.record(connection, *sample_events.lesson("ann", 0))
    assert as_of_fixtures.count_snapshots(connection)
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    connection.run("UPDATE event_store.events SET stream_version = stream_version + 300000")
    connection.run("UPDATE event_store.snapshots SET stream_version = stream_version + 300000")
    assert fetch(fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(0))).current == 1
