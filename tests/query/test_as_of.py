"""As-of queries: the oracle's results at any time, arguments, sessions, concurrent changes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress import settings
from progress.adapters import request_scope
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import QueryTooComplex
from progress.projections import batch, replay, snapshots
from progress.projections.projector import SHARDS, Projector
from progress.projections.snapshots import Policy
from progress.query.read_models import as_of
from tests.conftest import Store
from tests.query.test_past_fields import EVERYONE, PLAIN, arguments_at, compare, draw_moments
from tests.support import model_rows, sample_events
from tests.support.api import QUERY, Api, QueryClient, select_all
from tests.support.event_logs import Disturbance, Log, disturbances, logs
from tests.support.postgres_servers import Server
from tests.support.stage import Stage, append, connect

pytestmark = [pytest.mark.timeout(900), pytest.mark.every_postgres]


def test_a_request_about_many_past_times_has_the_results_of_separate_requests(
    stage: Stage, postgres_server: Server, fetch: QueryClient
) -> None:
    async def fetch_together(user: str, requested: list[Any]) -> list[Any]:
        first, last = date(2024, 2, 1), date(2026, 1, 31)
        with request_scope.begin(60.0):
            found: list[Any] = await asyncio.gather(
                *(fetch.queries.get_current_progress(user, **past) for past in requested),
                *(fetch.queries.get_stats_range(user, first, last, **past) for past in requested),
                *(fetch.queries.get_streak(user, **past) for past in requested),
            )
            return found

    @postgres_server.examples(1)
    @given(log=logs(), how=disturbances(), data=st.data())
    def check_requests(log: Log, how: Disturbance, data: st.DataObject) -> None:
        stage.sweep()
        stage.deliver(log, how)
        moments = draw_moments(data, model_rows.read_events(stage.admin))
        requested = [{"as_of": one["asOf"], "known_at": one["knownAt"]} for one in moments]
        for user in EVERYONE:
            separate = [fetch(fetch_together(user, [past])) for past in requested]
            together = fetch(fetch_together(user, requested))
            assert together == [
                answer for kind in zip(*separate, strict=True) for answer in kind
            ], user

    check_requests()


NOW = datetime(2024, 6, 1, tzinfo=UTC)
SESSIONS = settings.current().database_past_sessions
EVERY_EVENT = Policy(event_interval=1)


def event(kind: str, day: int, **data: Any) -> sample_events.Envelope:
    return sample_events.envelope(
        kind, {"user_id": "ann", **data}, at=sample_events.BEGIN + timedelta(days=day)
    )


def count_snapshots(connection: Connection) -> int:
    return int(connection.run("SELECT count(*) FROM event_store.snapshots")[0][0])


def record(connection: Connection, *events: sample_events.Envelope) -> None:
    append(connection, list(events))
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    snapshots.take(connection, EVERY_EVENT)


def count_sessions(fetch: QueryClient, user: str = "ann", /, **moments: Any) -> int | None:
    progress = fetch(fetch.queries.get_current_progress(user, **moments))
    return progress.total_sessions_completed if progress else None


def noon_of_day(day: int) -> datetime:
    return sample_events.BEGIN + timedelta(days=day, hours=12)


def test_only_a_few_as_of_queries_run_concurrently_and_other_queries_do_not_wait(
    store: Store, connection: Connection, fetch: QueryClient
) -> None:
    record(connection, *sample_events.lesson("ann", 0))
    assert count_sessions(fetch, as_of=noon_of_day(0)) == 1

    async def ask(user: str, day: int) -> Any:
        with request_scope.begin(request_scope.TIMEOUT_S, user):
            return await fetch.queries.get_streak(user, as_of=noon_of_day(day))

    async def crowd() -> list[Any]:
        queries = [
            asyncio.ensure_future(ask(user, day))
            for user in ("ann", "nobody")  # one caller cannot occupy all sessions
            for day in range(4)
        ]
        while (await _waiting(store)) < SESSIONS:
            assert not any(query.done() for query in queries)
        assert (await fetch.queries.get_streak("ann", at=noon_of_day(0))).current == 1
        assert await _waiting(store) == SESSIONS
        connection.run("ROLLBACK")
        return list(await asyncio.gather(*queries))

    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE")
    assert [streak.current for streak in fetch(crowd())] == [1, 1, 0, 0, 0, 0, 0, 0]


async def _waiting(store: Store) -> int:
    def count() -> int:
        watching = store.connect()
        rows = watching.run("""SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'past' AND wait_event_type = 'Lock'""")
        watching.close()
        return int(rows[0][0])

    return await asyncio.to_thread(count)


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
    assert snapshots.take(job, EVERY_EVENT) == 1
    append(connection, [event("UserDeleted", 9)])
    assert projector.catch_up_all() == 1
    assert count_snapshots(connection) == 0
    snapshots.drop_orphans(folding)
    for opened in (folding, job):
        opened.close()


def test_fields_about_the_same_past_time_share_one_statement(
    connection: Connection, fetch: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(connection, *sample_events.lesson("ann", 0), *sample_events.lesson("ben", 1))
    ran, run = [], as_of._Computation.run

    async def record_run(self: Any, *arguments: Any) -> Any:
        ran.append((self.user_id, self._moments["as_of"]))
        return await run(self, *arguments)

    monkeypatch.setattr(as_of._Computation, "run", record_run)

    async def request() -> None:
        queries = fetch.queries
        with request_scope.begin(10.0):
            await asyncio.gather(
                *(queries.get_streak("ann", as_of=noon_of_day(0)) for _ in range(5)),
                queries.get_current_progress("ann", as_of=noon_of_day(0)),
                queries.get_streak("ann", as_of=noon_of_day(1)),
                queries.get_streak("ben", as_of=noon_of_day(0)),
            )

    fetch(request())
    asked = [("ann", noon_of_day(0)), ("ann", noon_of_day(1)), ("ben", noon_of_day(0))]
    assert sorted(ran) == asked


def test_a_moment_that_leaves_out_no_event_is_answered_from_the_live_rows(
    connection: Connection, fetch: QueryClient
) -> None:
    record(connection, *sample_events.lesson("ann", 0), *sample_events.lesson("ann", 1))
    connection.run("UPDATE user_progress SET sessions_completed = 9")  # no definition computes 9
    assert count_snapshots(connection) == 1
    for _ in range(2):
        assert count_sessions(fetch, as_of=noon_of_day(1)) == 9
        assert count_sessions(fetch, as_of=noon_of_day(0)) == 1
        assert count_sessions(fetch, known_at=datetime.now(UTC)) == 9
        assert count_sessions(fetch, as_of=noon_of_day(1), known_at=NOW) is None
        connection.run("DELETE FROM event_store.snapshots")
    append(connection, sample_events.lesson("ann", 2))  # without folding them
    assert count_sessions(fetch, as_of=noon_of_day(1)) == 2
    assert count_sessions(fetch, as_of=noon_of_day(2)) == 3


def test_an_event_that_is_folded_before_the_live_rows_are_read_is_left_out(
    connection: Connection, fetch: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(connection, *sample_events.lesson("ann", 0))
    fetch_row, later = as_of._Computation._fetch_one, sample_events.lesson("ann", 1)

    async def fold_after_first(self: Any, *arguments: Any) -> Any:
        row = await fetch_row(self, *arguments)
        if later:
            await asyncio.to_thread(record, connection, *later)
            later.clear()
        return row

    monkeypatch.setattr(as_of._Computation, "_fetch_one", fold_after_first)
    assert count_sessions(fetch, as_of=noon_of_day(0)) == 1
    assert not later


def test_a_request_is_about_at_most_three_moments(fetch: QueryClient) -> None:
    async def request() -> None:
        with request_scope.begin(10.0):
            for day in range(as_of.MAX_MOMENTS):
                await fetch.queries.get_streak("ann", as_of=noon_of_day(day))
            with pytest.raises(QueryTooComplex, match="3 pairs of learner and time - found 4"):
                await fetch.queries.get_streak("ann", as_of=noon_of_day(9))

    fetch(request())


def test_a_history_that_is_too_long_is_rejected_with_advice(
    connection: Connection, query_api: Api
) -> None:
    record(connection, *sample_events.lesson("ann", 0))
    connection.run("""INSERT INTO event_store.events
        SELECT 10000, gen_random_uuid(), stream_id, 300000, event_type, event_data, metadata,
            occurred_at + interval '1 day', created_at, shard
        FROM event_store.events WHERE stream_id = 'learner-ann' LIMIT 1""")
    code, message = query_api.error('{ streak(asOf: "2024-05-01T00:00:00Z") { current } }')
    assert code == "UNAVAILABLE"
    assert "at most 210000 events of the learner - found 300000" in message
    assert message.endswith("leave both out")


FOREVER = datetime.max.replace(tzinfo=UTC)


def test_a_deleted_learner_has_data_at_no_time(connection: Connection, fetch: QueryClient) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    record(connection)
    assert count_snapshots(connection) == 2
    assert count_sessions(fetch, as_of=noon_of_day(2))
    recorded = model_rows.read_events(connection)[-1].created_at
    append(connection, [event("UserDeleted", 9)])
    for folded in (False, True):
        if folded:
            Projector(connection).catch_up_all()
        for moments in ({"as_of": noon_of_day(2)}, {"known_at": recorded}, {"as_of": FOREVER}):
            assert count_sessions(fetch, **moments) is None
        assert count_sessions(fetch, "ben", as_of=noon_of_day(2))
    assert count_snapshots(connection) == 1


def test_a_deletion_removes_a_snapshot_that_is_taken_concurrently(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    batch.run(connection)
    append(connection, [event("UserDeleted", 9)])
    folding, watching = connect(store.url), store.connect()
    projector = Projector(folding)
    pid = folding.run("SELECT pg_backend_pid()")[0][0]
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(connection):
            connection.run("INSERT INTO snapshot_learners VALUES ('ann')")
            assert snapshots.take(connection, EVERY_EVENT) == 1
            folded = pool.submit(projector.catch_up_all)
            model_rows.wait_for_lock(watching, pid, folded)
        assert folded.result() == 1
    assert count_snapshots(connection) == 0
    for opened in (folding, watching):
        opened.close()


def test_a_late_preference_event_changes_local_days_although_snapshots_exist(
    connection: Connection, query_api: Api
) -> None:
    for number in range(3):
        record(connection, *sample_events.lesson("ann", number))
    zone = {"timezone": "Pacific/Kiritimati", "day_start_hour": 0}
    record(connection, event("UserPreferencesChanged", 1, **zone))
    stored = model_rows.read_events(connection)
    for day in (0, 1, 3):
        for known_at in (None, stored[-2].created_at):
            compare(query_api, stored, arguments_at(noon_of_day(day), known_at))


def test_a_snapshot_that_lacks_a_replayed_event_is_not_used(
    connection: Connection, query_api: Api
) -> None:
    def compare_counted() -> None:
        stored = model_rows.read_events(connection)
        compare(query_api, stored, arguments_at(noon_of_day(1)))

    append(connection, [*sample_events.lesson("ann", 0), *sample_events.lesson("ann", 1)])
    sample_events.poison(connection, "ann")
    record(connection)
    assert model_rows.read_value(connection, "poisoned")
    compare_counted()
    model_rows.read_value(connection, "mend")
    letter = connection.run("SELECT letter_id FROM event_store.dead_letters")[0][0]
    assert replay.replay(connection, letter) is None
    assert not model_rows.read_value(connection, "poisoned")
    compare_counted()


PAST = """query ($asOf: DateTime, $knownAt: DateTime) {
  userProgress(asOf: $asOf, knownAt: $knownAt) { totalSessionsCompleted } }"""
LATEST = "9999-12-31T23:59:59.999999-14:00"


@pytest.fixture
def lessons(query_api: Api, connection: Connection) -> Api:
    """The API; four lessons are recorded, and not folded."""
    sample_events.record_lessons(connection, "ann")
    append(connection, [sample_events.item_published("i9", at=sample_events.BEGIN)])
    return query_api


def test_a_time_is_exact_to_the_microsecond_in_any_utc_offset(lessons: Api) -> None:
    for moment, completed in (
        ("2024-04-02T09:00:07.000000Z", 2),  # when the second lesson ends
        ("2024-04-02T09:00:06.999999Z", 1),
        ("2024-04-02T18:00:07+09:00", 2),
        ("2024-04-01T23:00:06.9999999-10:00", 1),
        ("2024-04-02t09:00:07.0000009z", 2),
        (LATEST, 4),
    ):
        progress = lessons.data(PAST, asOf=moment)["userProgress"]
        assert progress == {"totalSessionsCompleted": completed}


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", LATEST])
def test_every_field_answers_at_the_first_and_the_last_moment(lessons: Api, moment: str) -> None:
    plain = " ".join(f"{name}(asOf: $at) {select_all(QUERY.fields[name])}" for name in PLAIN)
    others = f"""{{ {plain}
        levelStats(asOf: $at) {{ level expectedDate }} itemStats(asOf: $at) {{ totalCount }}
        item(itemId: "i0", asOf: $at) {{ dueAt }}
        itemHistory(itemId: "i0", asOf: $at) {{ days {{ date }} }}
        restDays(from: "2024-03-01", to: "2024-03-02", asOf: $at)
        dailyStats(from: "2024-03-01", to: "2024-03-02", asOf: $at) {{ date }} }}"""
    assert lessons.data(f"query ($at: DateTime) {others}", at=moment)["goal"] is None
    code, message = lessons.error(f'{{ dueForecast(asOf: "{moment}") {{ date }} }}')
    assert code == "BAD_USER_INPUT"
    assert "expected the years 4 to 9987" in message


def test_a_null_time_means_the_present(lessons: Api) -> None:
    # the read models are empty, because the events have not been folded
    assert lessons.data(PAST, asOf=None, knownAt=None)["userProgress"] is None


def test_an_invalid_time_is_rejected(lessons: Api) -> None:
    for moment in ("2024-04-02", "2024-04-02T09:00:00", "now", 5):
        code, message = lessons.error(PAST, asOf=moment)
        assert code == "BAD_USER_INPUT"
        assert "expected a time as in" in message
