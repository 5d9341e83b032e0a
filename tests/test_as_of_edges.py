"""As-of answers where something else happens to the learner, the tables or the server meanwhile."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import lessons
import oracle
import pytest
import rows
from asking import Asking, asking, plain
from conftest import Store
from stage import append, connect

from progress import (
    batch,
    database,
    models,
    past,
    readmodels,
    rebuild,
    replays,
    snapshots,
    statements,
)
from progress.database import Connection
from progress.errors import Unavailable
from progress.projections import SHARDS, Projector
from progress.snapshots import Policy

pytestmark = pytest.mark.every_postgres

NOW = datetime(2024, 6, 1, tzinfo=UTC)
NEVER, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
EACH = Policy(event_interval=1)
RANGE = (date(2024, 3, 1), date(2024, 6, 1))
# What an as-of answer shares with all others: none of it is changed by a fold of the answer's own.
SHARED = {
    *("facts", "preference_facts", "deletion_facts", "catalogue_facts", "window_shape"),
    *("checkpoints", "shards_behind", "batch_checkpoints", "learner_versions"),
    "snapshot_learners",
    *models.BATCH,
}


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    made = connect(store.url)
    yield made
    made.close()


@pytest.fixture
def ask(store: Store) -> Iterator[Asking]:
    with asking(store.url) as made:
        yield made


def told(connection: Connection, *events: lessons.Envelope) -> None:
    """Recorded, folded, and snapshots taken."""
    append(connection, list(events))
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    snapshots.take(connection, EACH)


def event(kind: str, day: int, **data: Any) -> lessons.Envelope:
    return lessons.envelope(
        kind, {"user_id": "ann", **data}, at=lessons.BEGIN + timedelta(days=day)
    )


def kept(connection: Connection) -> int:
    return int(connection.run("SELECT count(*) FROM event_store.snapshots")[0][0])


def answered(ask: Asking, user: str = "ann", /, **moments: Any) -> list[Any]:
    """The learner's standing, streak and days at the moment."""
    return [
        plain(ask(readmodels.get_current_progress(user, **moments))),
        plain(ask(readmodels.get_streak(user, **moments))),
        [*map(plain, ask(readmodels.get_stats_range(user, *RANGE, **moments)))],
    ]


def wrong(ask: Asking, connection: Connection, **moments: Any) -> list[str]:
    """Where the answers are not the oracle's."""
    world = oracle.see(rows.stored(connection, "counted"), NOW, **moments)
    progress, streak, days = answered(ask, **moments)
    if progress:
        progress |= plain(progress.pop("mastery_stats")) or {}
    daily = [{"date": d, **row} for d, row in oracle.daily_stats(world, "ann").items()]
    wanted = [oracle.user_progress(world, "ann"), oracle.streak(world, "ann"), daily]
    pairs = zip((progress, streak, days), wanted, strict=True)
    return [f"found {found}, expected {should}" for found, should in pairs if found != should]


def later(day: int) -> datetime:
    return lessons.BEGIN + timedelta(days=day, hours=12)


NOTHING: list[Any] = [
    None,
    {
        **dict.fromkeys(("current", "longest"), 0),
        **dict.fromkeys(("longest_start", "longest_end", "last_study_date")),
        **dict.fromkeys(("active_today", "at_risk"), False),
    },
    [],
]


def test_before_the_first_event_there_is_nothing(connection: Connection, ask: Asking) -> None:
    lessons.teach(connection, "ann")
    for moments in ({"as_of": NEVER}, {"known_at": NEVER}, {"as_of": FOREVER, "known_at": NEVER}):
        assert answered(ask, **moments) == NOTHING
        filled = readmodels.get_stats_range("ann", *RANGE, zero_fill=True, **moments)
        assert ask(filled) == []


def test_at_the_end_of_time_all_has_happened(connection: Connection, ask: Asking) -> None:
    lessons.teach(connection, "ann")
    progress, streak, days = answered(ask, as_of=FOREVER)
    assert (progress["total_sessions_completed"], progress["current_streak"]) == (4, 0)
    assert (streak["longest"], streak["current"], len(days)) == (4, 0, 4)


def test_nothing_was_ever_of_a_deleted_learner(connection: Connection, ask: Asking) -> None:
    lessons.teach(connection, "ann", "ben")
    told(connection)
    assert kept(connection) == 2
    before = answered(ask, as_of=later(2))
    assert before != NOTHING
    recorded = rows.stored(connection)[-1].created_at
    append(connection, [event("UserDeleted", 9)])
    for folded in (False, True):
        if folded:
            Projector(connection).catch_up_all()
        for moments in ({"as_of": later(2)}, {"known_at": recorded}, {"as_of": FOREVER}):
            assert answered(ask, **moments) == NOTHING
        assert answered(ask, "ben", as_of=later(2)) != NOTHING
    assert kept(connection) == 1


def test_a_deletion_takes_along_the_snapshot_that_is_being_taken(
    store: Store, connection: Connection
) -> None:
    lessons.teach(connection, "ann")
    batch.run(connection)
    append(connection, [event("UserDeleted", 9)])
    folding, watching = connect(store.url), store.connect()
    projector = Projector(folding)
    pid = folding.run("SELECT pg_backend_pid()")[0][0]
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(connection):
            connection.run("INSERT INTO snapshot_learners VALUES ('ann')")
            assert snapshots.take(connection, EACH) == 1
            folded = pool.submit(projector.catch_up_all)
            while not rows.ask(watching, "waits", pid=pid):
                assert not folded.done(), "the deletion did not wait for the snapshot"
        assert folded.result() == 1
    assert kept(connection) == 0
    for each in (folding, watching):
        each.close()


def test_an_answer_starts_from_the_newest_snapshot_that_fits(
    connection: Connection, ask: Asking
) -> None:
    for number in range(3):
        told(connection, *lessons.lesson("ann", number))
    assert kept(connection) == 3
    connection.run("""UPDATE event_store.snapshots
        SET state = state || jsonb_build_object('learning_streaks', NULL)""")
    lengths = [ask(readmodels.get_streak("ann", as_of=later(day))).longest for day in range(3)]
    assert lengths == [0, 0, 0]
    connection.run("DELETE FROM event_store.snapshots WHERE stream_version > 10")
    lengths = [ask(readmodels.get_streak("ann", as_of=later(day))).longest for day in range(3)]
    assert lengths == [0, 1, 2]


def test_a_preference_that_comes_late_moves_the_days_of_a_snapshot(
    connection: Connection, ask: Asking
) -> None:
    for number in range(3):
        told(connection, *lessons.lesson("ann", number))
    zone = {"timezone": "Pacific/Kiritimati", "day_start_hour": 0}
    told(connection, event("UserPreferencesChanged", 1, **zone))
    before = rows.stored(connection)[-2].created_at
    for day in range(4):
        assert not wrong(ask, connection, as_of=later(day))
        assert not wrong(ask, connection, as_of=later(day), known_at=before)


def test_a_snapshot_without_what_counts_again_is_no_start(
    connection: Connection, ask: Asking
) -> None:
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    append(connection, [*lessons.lesson("ann", 0), *lessons.lesson("ann", 1)])
    rows.ask(connection, "poison", user="ann")
    told(connection)
    assert rows.ask(connection, "poisoned")
    assert not wrong(ask, connection, as_of=later(1))
    rows.ask(connection, "mend")
    letter = connection.run("SELECT letter_id FROM event_store.dead_letters")[0][0]
    assert replays.replay(connection, letter) is None
    assert not rows.ask(connection, "poisoned")
    assert not wrong(ask, connection, as_of=later(1))


def test_a_learner_never_sees_another_s_answer(connection: Connection, ask: Asking) -> None:
    lessons.teach(connection, "ann", "ben", lessons=2)
    for user, other in (("ann", "ben"), ("ben", "ann")):
        assert answered(ask, user, as_of=later(0))[0]["user_id"] == user
        assert answered(ask, "cyd", as_of=later(0)) == NOTHING
        assert answered(ask, other, as_of=later(1))[0]["user_id"] == other


def test_answers_go_on_through_rebuilds_and_folds(store: Store, connection: Connection) -> None:
    told(connection, *lessons.lesson("ann", 0))
    with asking(store.url) as ask:
        before = answered(ask, as_of=later(0))
        done = threading.Event()

        def work() -> None:
            other = connect(store.url)
            try:
                for number in range(1, 4):
                    told(other, *lessons.lesson("ann", number))
                    rebuild.run(lambda: database.connect(store.url))
            finally:
                done.set()
                other.close()

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            while not done.is_set():
                assert answered(ask, as_of=later(0)) == before
            working.result()
        assert answered(ask, as_of=later(0)) == before
        assert not wrong(ask, connection, as_of=later(3))
    assert kept(connection) == 0  # of what the rebuild has replaced


def test_a_few_are_answered_at_once_and_hold_nobody_else_up(
    store: Store, connection: Connection, ask: Asking
) -> None:
    told(connection, *lessons.lesson("ann", 0))
    answered(ask, as_of=later(0))

    async def crowd() -> list[Any]:
        asked = [
            asyncio.ensure_future(readmodels.get_streak("ann", as_of=later(day % 2)))
            for day in range(8)
        ]
        while (await _waiting(store)) < past._SESSIONS:
            await asyncio.sleep(0)
        assert (await readmodels.get_streak("ann", at=later(0))).current == 1
        assert await _waiting(store) == past._SESSIONS
        connection.run("ROLLBACK")
        return list(await asyncio.gather(*asked))

    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.snapshots IN ACCESS EXCLUSIVE MODE")
    assert [streak.current for streak in ask(crowd())] == [1] * 8


async def _waiting(store: Store) -> int:
    """As-of answers that wait for a lock."""

    def count() -> int:
        watching = store.connect()
        found = watching.run("""SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'past' AND wait_event_type = 'Lock'""")
        watching.close()
        return int(found[0][0])

    return await asyncio.to_thread(count)


def test_what_takes_too_long_is_ended(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons.teach(connection, "ann")
    monkeypatch.setitem(past._SETTINGS, "statement_timeout", "1s")
    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.snapshots IN ACCESS EXCLUSIVE MODE")
    with asking(store.url) as ask, pytest.raises(Unavailable, match="does not answer"):
        ask(readmodels.get_streak("ann", as_of=later(0)))
    connection.run("ROLLBACK")


def test_the_roles_suffice(store: Store, connection: Connection) -> None:
    append(connection, lessons.lesson("ann", 0))
    folding, job = connect(store.url), connect(store.url)
    folding.run("SET ROLE progress_project")
    projector = Projector(folding)
    projector.catch_up_all()
    job.run("SET ROLE progress_batch")
    batch.fold(job, list(SHARDS))
    assert snapshots.take(job, EACH) == 1
    query = session(store, "progress_query")
    with database.transaction(query):
        fold = statements.blocks("models/as_of")["one"]
        query.run(fold, user_id="ann", as_of=later(0).isoformat(), known_at=None)
        assert query.run("SELECT answers FROM user_progress") == [[3]]
    append(connection, [event("UserDeleted", 9)])
    assert projector.catch_up_all() == 1
    assert kept(connection) == 0
    snapshots.drop_outlived(folding)
    for each in (folding, job, query):
        each.close()


def session(store: Store, role: str) -> Connection:
    """As the query function's, for the past."""
    made = store.connect()
    made.run(f"SET ROLE {role}")
    made.run("SELECT set_config('search_path', :path, false)", path=past._SETTINGS["search_path"])
    made.execute_simple(models.as_of_tables())
    return made


def test_every_table_with_a_learner_s_rows_is_the_session_s_own(
    store: Store, connection: Connection
) -> None:
    live = connection.run("""SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')""")
    made = session(store, "progress_query")
    own = made.run("SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()")
    made.close()
    assert {name for (name,) in live} - {name for (name,) in own} == SHARED & {n for (n,) in live}


def test_without_tables_of_its_own_a_session_answers_nothing(connection: Connection) -> None:
    with pytest.raises(Exception, match="no tables of its own"):
        connection.run("SELECT fold_as_of('ann', 'infinity', 'infinity')")
