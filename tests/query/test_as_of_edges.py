"""As-of queries during and after deletions, late events, snapshots, rebuilds and folds."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import batch, rebuild, replay, snapshots
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import as_of_fixtures, model_rows, sample_events
from tests.support.api import QueryClient
from tests.support.stage import append, connect

pytestmark = pytest.mark.every_postgres

NEVER, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def test_as_of_results_are_empty_before_the_first_event(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann")
    for moments in ({"as_of": NEVER}, {"known_at": NEVER}, {"as_of": FOREVER, "known_at": NEVER}):
        assert as_of_fixtures.query_past(fetch, **moments) == as_of_fixtures.NOTHING
        filled = fetch.queries.get_stats_range(
            "ann", *as_of_fixtures.RANGE, zero_fill=True, **moments
        )
        assert fetch(filled) == []


def test_an_as_of_query_at_the_latest_possible_time_includes_all_events(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann")
    progress, streak, days = as_of_fixtures.query_past(fetch, as_of=FOREVER)
    assert (progress["total_sessions_completed"], progress["current_streak"]) == (4, 0)
    assert (streak["longest"], streak["current"], len(days)) == (4, 0, 4)


def test_a_deleted_learner_has_no_data_at_any_time(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    as_of_fixtures.record(connection)
    assert as_of_fixtures.count_snapshots(connection) == 2
    before = as_of_fixtures.query_past(fetch, as_of=as_of_fixtures.noon_of_day(2))
    assert before != as_of_fixtures.NOTHING
    recorded = model_rows.read_events(connection)[-1].created_at
    append(connection, [as_of_fixtures.event("UserDeleted", 9)])
    for folded in (False, True):
        if folded:
            Projector(connection).catch_up_all()
        for moments in (
            {"as_of": as_of_fixtures.noon_of_day(2)},
            {"known_at": recorded},
            {"as_of": FOREVER},
        ):
            assert as_of_fixtures.query_past(fetch, **moments) == as_of_fixtures.NOTHING
        assert (
            as_of_fixtures.query_past(fetch, "ben", as_of=as_of_fixtures.noon_of_day(2))
            != as_of_fixtures.NOTHING
        )
    assert as_of_fixtures.count_snapshots(connection) == 1


def test_a_deletion_removes_a_snapshot_that_is_taken_concurrently(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    batch.run(connection)
    append(connection, [as_of_fixtures.event("UserDeleted", 9)])
    folding, watching = connect(store.url), store.connect()
    projector = Projector(folding)
    pid = folding.run("SELECT pg_backend_pid()")[0][0]
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(connection):
            connection.run("INSERT INTO snapshot_learners VALUES ('ann')")
            assert snapshots.take(connection, as_of_fixtures.EVERY_EVENT) == 1
            folded = pool.submit(projector.catch_up_all)
            model_rows.wait_for_lock(watching, pid, folded)
        assert folded.result() == 1
    assert as_of_fixtures.count_snapshots(connection) == 0
    for opened in (folding, watching):
        opened.close()


def test_a_fold_starts_from_the_newest_usable_snapshot(
    connection: Connection, fetch: QueryClient
) -> None:
    for number in range(3):
        as_of_fixtures.record(connection, *sample_events.lesson("ann", number))
    assert as_of_fixtures.count_snapshots(connection) == 3
    connection.run("""UPDATE event_store.snapshots
        SET state = state || jsonb_build_object('learning_streaks', NULL)""")
    lengths = [
        fetch(fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(day))).longest
        for day in range(3)
    ]
    assert lengths == [0, 0, 0]
    connection.run("DELETE FROM event_store.snapshots WHERE stream_version > 10")
    lengths = [
        fetch(fetch.queries.get_streak("ann", as_of=as_of_fixtures.noon_of_day(day))).longest
        for day in range(3)
    ]
    assert lengths == [0, 1, 2]


@pytest.mark.parametrize("moments", [{}, {"as_of": as_of_fixtures.noon_of_day(1)}])
def test_as_of_results_are_correct_if_a_snapshot_is_deleted_before_it_is_read(
    connection: Connection, fetch: QueryClient, moments: dict[str, datetime]
) -> None:
    for number in range(3):
        as_of_fixtures.record(connection, *sample_events.lesson("ann", number))
    options = moments or {"known_at": FOREVER}
    model_rows.read_value(connection, "deleted snapshots")
    assert not as_of_fixtures.find_differences(fetch, connection, **options)
    connection.run("DELETE FROM event_store.snapshots")
    assert not as_of_fixtures.find_differences(fetch, connection, **options)


def test_an_as_of_query_does_not_see_concurrent_changes(
    store: Store, connection: Connection
) -> None:
    west = {"email": "a@b.c", "timezone": "America/Los_Angeles", "day_start_hour": 4}
    as_of_fixtures.record(
        connection, as_of_fixtures.event("UserCreated", -1, **west), *sample_events.lesson("ann", 0)
    )
    model_rows.read_value(connection, "wait before the snapshots")
    with closing(QueryClient(store.url)) as fetch, closing(connect(store.url)) as other:
        days = functools.partial(
            fetch.queries.get_stats_range, "ann", *as_of_fixtures.RANGE, as_of=FOREVER
        )
        before = fetch(days())
        connection.run("SELECT pg_advisory_lock(77)")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(fetch, days())
            while not model_rows.read_value(other, "waits for its turn", application="past"):
                assert not running.done()
            append(other, [as_of_fixtures.event("UserDeleted", 9)])
            Projector(other).catch_up_all()
            connection.run("SELECT pg_advisory_unlock(77)")
            assert running.result() == before != []
        assert fetch(days()) == []


def test_a_late_preference_event_changes_local_days_although_snapshots_exist(
    connection: Connection, fetch: QueryClient
) -> None:
    for number in range(3):
        as_of_fixtures.record(connection, *sample_events.lesson("ann", number))
    zone = {"timezone": "Pacific/Kiritimati", "day_start_hour": 0}
    as_of_fixtures.record(connection, as_of_fixtures.event("UserPreferencesChanged", 1, **zone))
    before = model_rows.read_events(connection)[-2].created_at
    for day in range(4):
        assert not as_of_fixtures.find_differences(
            fetch, connection, as_of=as_of_fixtures.noon_of_day(day)
        )
        assert not as_of_fixtures.find_differences(
            fetch, connection, as_of=as_of_fixtures.noon_of_day(day), known_at=before
        )


def test_a_snapshot_that_lacks_a_replayed_event_is_not_used(
    connection: Connection, fetch: QueryClient
) -> None:
    append(connection, [*sample_events.lesson("ann", 0), *sample_events.lesson("ann", 1)])
    sample_events.poison(connection, "ann")
    as_of_fixtures.record(connection)
    assert model_rows.read_value(connection, "poisoned")
    assert not as_of_fixtures.find_differences(
        fetch, connection, as_of=as_of_fixtures.noon_of_day(1)
    )
    model_rows.read_value(connection, "mend")
    letter = connection.run("SELECT letter_id FROM event_store.dead_letters")[0][0]
    assert replay.replay(connection, letter) is None
    assert not model_rows.read_value(connection, "poisoned")
    assert not as_of_fixtures.find_differences(
        fetch, connection, as_of=as_of_fixtures.noon_of_day(1)
    )


def test_a_database_session_never_returns_another_learner_s_data(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann", "ben", lessons=2)
    for user, other in (("ann", "ben"), ("ben", "ann")):
        assert (
            as_of_fixtures.query_past(fetch, user, as_of=as_of_fixtures.noon_of_day(0))[0][
                "user_id"
            ]
            == user
        )
        assert (
            as_of_fixtures.query_past(fetch, "cyd", as_of=as_of_fixtures.noon_of_day(0))
            == as_of_fixtures.NOTHING
        )
        assert (
            as_of_fixtures.query_past(fetch, other, as_of=as_of_fixtures.noon_of_day(1))[0][
                "user_id"
            ]
            == other
        )


def test_rebuilds_and_folds_do_not_change_as_of_results(
    store: Store, connection: Connection
) -> None:
    as_of_fixtures.record(connection, *sample_events.lesson("ann", 0))
    with closing(QueryClient(store.url)) as fetch:
        before = as_of_fixtures.query_past(fetch, as_of=as_of_fixtures.noon_of_day(0))
        done = threading.Event()

        def work() -> None:
            other = connect(store.url)
            try:
                for number in range(1, 4):
                    as_of_fixtures.record(other, *sample_events.lesson("ann", number))
                    rebuild.run(lambda: database.connect(store.url))
            finally:
                done.set()
                other.close()

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            while not done.is_set():
                assert (
                    as_of_fixtures.query_past(fetch, as_of=as_of_fixtures.noon_of_day(0)) == before
                )
            working.result()
        assert as_of_fixtures.query_past(fetch, as_of=as_of_fixtures.noon_of_day(0)) == before
        assert not as_of_fixtures.find_differences(
            fetch, connection, as_of=as_of_fixtures.noon_of_day(3)
        )
    # The last rebuild deleted the old read models, and with them their snapshots.
    assert as_of_fixtures.count_snapshots(connection) == 0
